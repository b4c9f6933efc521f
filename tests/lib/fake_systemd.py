# SPDX-License-Identifier: Apache-2.0
"""The part of systemd's D-Bus service that tells states of units, on a private bus: `fake_systemd.py ADDRESS`, then lines
"UNIT STATE" on standard input; each is answered with "ok" once it was told on the bus."""

import sys

import dbus
import dbus.bus
import dbus.lowlevel
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

SYSTEMD = "org.freedesktop.systemd1"
PREFIX = "/org/freedesktop/systemd1/unit/"


def encode(unit):
    return PREFIX + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in unit)


def main():
    DBusGMainLoop(set_as_default=True)
    bus = dbus.bus.BusConnection(sys.argv[1])
    states, loop = {}, GLib.MainLoop()

    def on_message(connection, m):
        if m.get_type() != 1 or m.get_destination() not in (SYSTEMD, connection.get_unique_name()):
            return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
        reply = dbus.lowlevel.MethodReturnMessage(m)
        if m.get_member() == "Get":
            reply.append(dbus.String(states.get(str(m.get_path()), "inactive"), variant_level=1), signature="v")
        connection.send_message(reply)
        return dbus.lowlevel.HANDLER_RESULT_HANDLED

    def on_line(stream, _):
        line = stream.readline()
        if not line:
            loop.quit()
            return False
        unit, state = line.split()
        states[encode(unit)] = state
        signal = dbus.lowlevel.SignalMessage(encode(unit), "org.freedesktop.DBus.Properties", "PropertiesChanged")
        signal.append(SYSTEMD + ".Unit", dbus.Dictionary({"ActiveState": dbus.String(state, variant_level=1)}, signature="sv"),
                      dbus.Array([], signature="s"), signature="sa{sv}as")
        bus.send_message(signal)
        bus.flush()
        print("ok", flush=True)
        return True

    bus.add_message_filter(on_message)
    bus.request_name(SYSTEMD)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, on_line)
    print("ok", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
