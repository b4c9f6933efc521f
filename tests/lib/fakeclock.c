/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakeclock: preloaded into daemons under test, moves their clocks. Test code only. $FAKECLOCK names a
 * file of two 64-bit words that the test maps as well: microseconds that CLOCK_REALTIME and
 * CLOCK_BOOTTIME are ahead of the truth (time asleep counts for both). A timer of CLOCK_BOOTTIME fires
 * after 50 ms at the latest, since nothing else would tell it that the clock was moved.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US 1000000
#define SOON_NS (50 * 1000 * 1000)
#define FDS 4096

struct ahead {
	volatile int64_t real_us, boot_us;
};

static struct ahead *ahead;
static unsigned char is_boot[FDS];
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_create)(int, int);
static int (*real_settime)(int, int, const struct itimerspec *, struct itimerspec *);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAKECLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p = fd >= 0 ? mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (p != MAP_FAILED)
		ahead = p;
	if (fd >= 0)
		close(fd);
}

static void load(void)
{
	if (real_gettime)
		return;
	real_create = (int (*)(int, int))dlsym(RTLD_NEXT, "timerfd_create");
	real_settime = (int (*)(int, int, const struct itimerspec *, struct itimerspec *))dlsym(RTLD_NEXT, "timerfd_settime");
	real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

static void add(struct timespec *t, int64_t us)
{
	int64_t ns = t->tv_nsec + us % SECOND_US * 1000;

	t->tv_sec += us / SECOND_US;
	if (ns < 0) {
		ns += 1000000000;
		t->tv_sec--;
	} else if (ns >= 1000000000) {
		ns -= 1000000000;
		t->tv_sec++;
	}
	t->tv_nsec = ns;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	load();
	int r = real_gettime(clock, ret);

	if (r == 0 && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		add(ret, ahead->real_us);
	if (r == 0 && ahead && clock == CLOCK_BOOTTIME)
		add(ret, ahead->boot_us);
	return r;
}

time_t time(time_t *ret)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (ret)
		*ret = t.tv_sec;
	return t.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*ret = (struct timeval){ .tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000 };
	return 0;
}

int timerfd_create(clockid_t clock, int flags)
{
	load();
	int fd = real_create((int)clock, flags);

	if (fd >= 0 && fd < FDS)
		is_boot[fd] = clock == CLOCK_BOOTTIME;
	return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	struct itimerspec soon = { .it_value = { .tv_nsec = SOON_NS } };

	load();
	if (fd < 0 || fd >= FDS || !is_boot[fd] || !ahead ||
	    (value->it_value.tv_sec == 0 && value->it_value.tv_nsec == 0))
		return real_settime(fd, flags, value, old);
	return real_settime(fd, 0, &soon, old);
}
