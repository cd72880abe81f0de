/* Preloaded into a process, it makes this machine another one, and its disk one of several machines, as NFS is:
   flock is refused, no two names are exchanged in one step, and the host is called as MACHINE says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define EXCHANGE 2

int flock(int file, int operation) {
    errno = EBADF;
    return -1;
}

int gethostname(char *name, size_t length) {
    const char *machine = getenv("MACHINE");
    strncpy(name, machine ? machine : "node0", length);
    return 0;
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    errno = EINVAL;
    return -1;
}

long syscall(long number, ...) {
    static long (*next)(long, ...);
    long given[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++) given[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_renameat2 && (given[4] & EXCHANGE)) {
        errno = EINVAL;
        return -1;
    }
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
