# SPDX-License-Identifier: Apache-2.0
"""Another issuer, another root: every step waits until each proxy has told that it is there, and survives SIGKILL."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import kvmesh
from ca import DEFAULT, Ca, identity, is_sanitized, make_csr, plugged_in, registry, spiffe, text_of, verifies
from control import Refused, call_as, is_root
from kvmesh import wait_for

PROXIES = ("node", "ingressgateway")


@pytest.fixture
def ca():
    with Ca() as c:
        yield c.start().ready()


@pytest.fixture
def csr(tmp_path):
    return make_csr(tmp_path)


def state_file(ca):
    path = ca.state / "ca/rotation.json"
    return json.loads(path.read_text()) if path.exists() else {}


def leaf(ca, csr):
    return ca.sign(csr, spiffe("my-app"))["certificate"]


@pytest.mark.parametrize("root", [True, False])
def test_rotation_step_by_step(ca, csr, tmp_path, root):
    old_issuer, old_root = (ca.call("Status")[k]["serial"] for k in ("issuer", "root"))
    old = leaf(ca, csr)
    reply = ca.call("Rotate", {"root": root})
    assert reply["rotation"]["step"] == "distribute" and reply["rotation"]["waitsFor"] == list(PROXIES)
    assert state_file(ca)["step"] == "distribute"

    # Both are trusted, the one before signs: what it signs verifies with either bundle.
    both = ca.bundle()
    assert len(both) == (4 if root else 3)
    assert ca.call("Status")["issuer"]["serial"] == old_issuer
    assert verifies(leaf(ca, csr), both, tmp_path)
    ca.acks("node")
    assert ca.rotation()["waitsFor"] == ["ingressgateway"] and ca.call("Status")["issuer"]["serial"] == old_issuer
    # A word about another bundle is none about this one.
    ca.acks("ingressgateway", generation=1)
    assert ca.step() == "distribute"

    ca.acks("ingressgateway")
    assert ca.step() == "renew" and ca.call("Status")["issuer"]["serial"] != old_issuer
    assert (ca.call("Status")["root"]["serial"] != old_root) == root
    new = leaf(ca, csr)
    assert ca.bundle() == both, "who signs is no reason for another bundle"
    assert verifies(old, both, tmp_path) and verifies(new, both, tmp_path)
    ca.acks("node")
    assert ca.rotation()["waitsFor"] == ["ingressgateway"]

    ca.acks("ingressgateway")
    assert ca.step() == "retire"
    last = ca.bundle()
    assert len(last) == 2
    assert verifies(new, last, tmp_path) and not verifies(old, last, tmp_path)
    ca.acks(*PROXIES)
    assert ca.rotation() == {} and state_file(ca) == {}
    assert not list((ca.state / "ca").glob("*-next-*")) and not list((ca.state / "ca").glob("*-old-*"))


def test_a_proxy_that_never_acknowledges_is_waited_for(ca, csr):
    """… by name, until an administrator says otherwise; its certificates stay good meanwhile."""
    leaf(ca, csr)
    ca.call("Rotate", {"root": True})
    for step in ("distribute", "renew", "retire"):
        ca.acks("node")
        assert ca.step() == step and ca.rotation()["waitsFor"] == ["ingressgateway"]
        with pytest.raises(Refused) as e:
            ca.call("Rotate", {"root": True})
        assert e.value.name == "Busy" and step in e.value.text
        ca.call("Rotate", {"force": True})
    assert ca.rotation() == {}
    with pytest.raises(Refused) as e:
        ca.call("Rotate", {"force": True})
    assert e.value.name == "NotFound"


def test_a_proxy_that_is_no_more_is_not_waited_for(ca, csr):
    leaf(ca, csr)
    ca.call("Rotate", {"root": True})
    ca.acks("node")
    assert ca.rotation()["waitsFor"] == ["ingressgateway"]
    ca.router.set(registry(identity("my-app"), signBurst=1000))
    wait_for("the next step", lambda: ca.step() == "renew")


def test_certificates_of_programs_end_before_the_root_leaves(csr, tmp_path):
    """What no proxy renews (a workload asked for itself) is known by the ledger; the step lasts until it has ended."""
    if not is_root():
        pytest.skip("needs to become another user")
    with Ca({**DEFAULT, "leafLifetimeUs": 3_000_000}) as ca:
        ca.start().ready()
        time.sleep(1.5)         # idle since a while: nothing but the change itself makes it look again
        error, text, got = call_as(65534, ca.sock, "Sign", {"csr": csr, "spiffe": spiffe("own")})
        assert error is None, text
        ca.call("Rotate", {"root": True})
        ca.acks()
        ca.acks()
        r = ca.rotation()
        if r["step"] == "renew":
            assert r["waitsFor"] == [] and r["othersUntil"] == got["notAfter"]
        assert verifies(got["certificate"], ca.bundle(), tmp_path) or ca.step() == "retire"
        wait_for("the end of the certificate", lambda: ca.step() == "retire")


def test_nobody_else_may_acknowledge_or_rotate(ca, csr):
    if not is_root():
        pytest.skip("needs to become another user")
    ca.call("Rotate", {"root": True})
    told = ca.acks("node")
    error, _, _ = call_as(65534, ca.sock, "Ack", {"proxy": "ingressgateway", "generation": told["generation"],
                                                  "issuer": told["issuer"]})
    assert error == "NotPermitted"
    for order in ({"root": True}, {"force": True}, {"abort": True}):
        error, _, _ = call_as(65534, ca.sock, "Rotate", order)
        assert error == "NotPermitted"
    assert ca.rotation()["waitsFor"] == ["ingressgateway"]


def test_abort_before_the_next_one_signs(ca, csr):
    before, serial = ca.bundle(), ca.call("Status")["issuer"]["serial"]
    ca.call("Rotate", {"root": True})
    assert ca.bundle() != before
    ca.call("Rotate", {"abort": True})
    assert ca.bundle() == before and ca.call("Status")["issuer"]["serial"] == serial and ca.rotation() == {}
    # And later it does not come back.
    ca.stop(signal.SIGKILL)
    ca.start().ready()
    assert ca.bundle() == before
    leaf(ca, csr)
    ca.call("Rotate", {"root": False})
    ca.acks()
    with pytest.raises(Refused) as e:
        ca.call("Rotate", {"abort": True})
    assert "no way back" in e.value.text and ca.step() == "renew"


def test_issuer_cannot_be_made_without_the_roots_key(ca):
    (ca.state / "ca/root-key.pem").unlink()
    with pytest.raises(Refused) as e:
        ca.call("Rotate", {"root": False})
    assert "root's key is not on this node" in e.value.text and "--offline-root" in e.value.text
    assert ca.rotation() == {} and state_file(ca) == {}


# ---- SIGKILL at every change on disk -------------------------------------------------------------

@pytest.fixture(scope="module")
def killat(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    library = tmp_path_factory.mktemp("killat") / "killat.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, kvmesh.TOP / "tests/lib/killat.c", "-ldl"], check=True)
    return library


class Killed(Ca):
    """A CA that is ended in front of its Nth change of a file's name."""

    def __init__(self, library):
        super().__init__()
        self.library, self.plan = library, self.dir / "killat"

    def start(self, *more, **how):
        os.environ["LD_PRELOAD"], os.environ["KILLAT"] = str(self.library), str(self.plan)
        try:
            return super().start(*more, **how)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["KILLAT"]

    def seen(self):
        path = self.dir / "killat.seen"
        return int(path.read_text()) if path.exists() else 0


def until_done(ca):
    """Proxies acknowledge whatever is told, until no rotation is under way. False: the CA died on the way."""
    try:
        while ca.rotation():
            ca.acks(*PROXIES)
        return True
    except (OSError, Refused):
        return False


@pytest.mark.parametrize("root", [True, False])
def test_sigkill_at_each_change_on_disk_then_it_goes_on(killat, csr, tmp_path, root):
    if is_sanitized("kvmesh-ca"):
        pytest.skip("a sanitizer wants to be loaded first")
    n, kills = 0, 0
    with Killed(killat) as ca:
        while True:
            n += 1
            ca.start().ready()
            before = ca.bundle()
            old_root, old_issuer = (ca.call("Status")[k]["serial"] for k in ("root", "issuer"))
            mine = leaf(ca, csr)
            # From here on it counts: the file appears, and the daemon reads it at each change.
            (ca.dir / "killat.seen").unlink(missing_ok=True)
            ca.plan.write_text(str(n))
            done = False
            try:
                ca.call("Rotate", {"root": root})
                done = until_done(ca)
            except (OSError, Refused):
                pass
            if not done:
                kills += 1
                assert ca.process.popen.wait(60) == -signal.SIGKILL
            ca.plan.unlink()
            if not done:
                ca.start().ready()
                # Whatever step it was in, nobody has lost an identity: it is in the bundle, or was renewed away.
                if ca.step() != "retire" and ca.rotation():
                    assert verifies(mine, ca.bundle(), tmp_path)
                assert leaf(ca, csr)
                if not ca.rotation() and ca.call("Status")["issuer"]["serial"] == old_issuer:
                    assert ca.bundle() == before            # it had not begun
                    ca.call("Rotate", {"root": root})
            assert until_done(ca)
            now = ca.call("Status")
            assert now["issuer"]["serial"] != old_issuer and (now["root"]["serial"] != old_root) == root
            assert len(ca.bundle()) == 2 and verifies(leaf(ca, csr), ca.bundle(), tmp_path)
            assert not verifies(mine, ca.bundle(), tmp_path)
            assert not list((ca.state / "ca").glob(".*")), "half-written keys stay behind"
            assert not list((ca.state / "ca").glob("*-next-*")) and not (ca.state / "ca/rotation.json").exists()
            ca.stop(signal.SIGKILL)
            if done:
                break
    assert kills >= (12 if root else 9), kills


def test_damaged_state_file_the_files_tell(ca, csr, tmp_path):
    ca.call("Rotate", {"root": True})
    mine, both = leaf(ca, csr), ca.bundle()
    ca.stop(signal.SIGKILL)
    path = ca.state / "ca/rotation.json"
    path.chmod(0o600)
    path.write_text(path.read_text()[:-9])
    ca.start().ready()
    assert "damaged" in ca.text() and ca.bundle() == both and ca.step() == "distribute"
    assert until_done(ca)
    assert not verifies(mine, ca.bundle(), tmp_path)


# ---- files of somebody else ----------------------------------------------------------------------

def test_own_to_plugged_in_and_back(ca, csr, tmp_path):
    """Files appear in ETC/ca while the CA is away: the one before signs until every proxy trusts the new one."""
    old = leaf(ca, csr)
    ca.stop()
    plugged_in(ca, tmp_path, "corp")
    ca.start().ready()
    assert ca.rotation()["kind"] == "files" and ca.step() == "distribute"
    between = leaf(ca, csr)
    assert "corp" not in text_of(between) and len(ca.bundle()) == 4
    ca.acks()
    assert "corp" in text_of(leaf(ca, csr)) and ca.step() == "renew"
    assert verifies(old, ca.bundle(), tmp_path)
    assert until_done(ca)
    assert len(ca.bundle()) == 2 and not verifies(old, ca.bundle(), tmp_path)
    # And away again.
    ca.stop()
    shutil.rmtree(ca.etc / "ca")
    ca.start().ready()
    assert ca.step() == "distribute"
    # The key before is gone with its file: nothing is signed that a proxy might not know.
    with pytest.raises(Refused) as e:
        leaf(ca, csr)
    assert e.value.name == "Busy" and "every proxy trusts" in e.value.text
    ca.acks(issuer="")
    assert "corp" not in text_of(leaf(ca, csr))


def test_plugged_in_files_are_replaced_while_it_is_away(csr, tmp_path):
    with Ca() as ca:
        plugged_in(ca, tmp_path, "corp")
        ca.start().ready()
        old = leaf(ca, csr)
        ca.stop()
        plugged_in(ca, tmp_path, "corp2")
        ca.start().ready()
        assert ca.step() == "distribute" and len(ca.bundle()) == 4
        with pytest.raises(Refused) as e:
            leaf(ca, csr)
        assert e.value.name == "Busy"
        ca.acks(issuer="")
        new = leaf(ca, csr)
        assert verifies(old, ca.bundle(), tmp_path) and verifies(new, ca.bundle(), tmp_path)
        assert until_done(ca)
        assert not verifies(old, ca.bundle(), tmp_path) and verifies(new, ca.bundle(), tmp_path)
