// Loaded into a relay by tests/tests/faults.rs: moves its wall clock, and makes its disk slow or read-only, by what the file
// FAULTS says: seconds by which the clock is ahead, milliseconds that a flush takes, and 1 if the database cannot be written.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct faults {
  long ahead, flush, read_only;
};

static struct faults faults(void) {
  struct faults now = {0};
  char text[64] = {0};
  const char *path = getenv("FAULTS");
  int file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return now;
  if (read(file, text, sizeof text - 1) > 0)
    sscanf(text, "%ld %ld %ld", &now.ahead, &now.flush, &now.read_only);
  close(file);
  return now;
}

int clock_gettime(clockid_t id, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, id, time);
  if (result == 0 && id == CLOCK_REALTIME) {
    time->tv_sec += faults().ahead;
  }
  return result;
}

static void wait_for_disk(void) {
  long flush = faults().flush;
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

static int is_refused(const char *path) { return strstr(path, "relay.db") && faults().read_only; }

static int opened(const char *path, int flags, mode_t mode) {
  if ((flags & O_ACCMODE) != O_RDONLY && is_refused(path)) {
    errno = EROFS;
    return -1;
  }
  return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

#define OPEN(name)                           \
  int name(const char *path, int flags, ...) { \
    va_list rest;                            \
    va_start(rest, flags);                   \
    mode_t mode = mode_of(flags, rest);      \
    va_end(rest);                            \
    return opened(path, flags, mode);        \
  }
OPEN(open)
OPEN(open64)

static ssize_t written(int file, const void *bytes, size_t count, off_t at) {
  char link[64], path[4096] = {0};
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  if (readlink(link, path, sizeof path - 1) > 0 && is_refused(path)) {
    errno = EROFS;
    return -1;
  }
  return syscall(SYS_pwrite64, file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return written(file, bytes, count, at); }
ssize_t pwrite64(int file, const void *bytes, size_t count, off_t at) { return written(file, bytes, count, at); }
