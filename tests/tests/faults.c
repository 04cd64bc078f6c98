// Loaded into a relay by tests/tests/faults.rs: moves its wall clock, and makes its disk slow, by what the file FAULTS says:
// seconds by which the clock is ahead, and milliseconds that a flush takes.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void control(long *ahead, long *flush) {
  char text[64] = {0};
  const char *path = getenv("FAULTS");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  if (read(file, text, sizeof text - 1) > 0) sscanf(text, "%ld %ld", ahead, flush);
  close(file);
}

int clock_gettime(clockid_t id, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, id, time);
  if (result == 0 && id == CLOCK_REALTIME) {
    long ahead = 0, flush = 0;
    control(&ahead, &flush);
    time->tv_sec += ahead;
  }
  return result;
}

static void wait_for_disk(void) {
  long ahead = 0, flush = 0;
  control(&ahead, &flush);
  struct timespec time = {flush / 1000, flush % 1000 * 1000000};
  if (flush > 0) nanosleep(&time, NULL);
}

int fsync(int file) {
  wait_for_disk();
  return syscall(SYS_fsync, file);
}

int fdatasync(int file) {
  wait_for_disk();
  return syscall(SYS_fdatasync, file);
}
