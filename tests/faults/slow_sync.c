/* Stands before fsync for files of the decision log: fails once, or hangs. For tests of JR03, by LD_PRELOAD.
 *
 * SYNC_FAULT: "refused" = the first fsync of a decision segment after `armed` stands in SYNC_PLACE fails with
 * EIO and later ones succeed, as Linux does it; "stalled" = that one hangs until `go` stands there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stands(const char *place, const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", place, name);
    return access(path, F_OK) == 0;
}

int fsync(int fd) {
    static int (*real)(int);
    static atomic_int done;
    const char *fault = getenv("SYNC_FAULT"), *place = getenv("SYNC_PLACE");
    char link[64], path[4200] = {0};
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (fault && place && readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/logs/decisions/") &&
        strstr(path, ".log") && stands(place, "armed") && !atomic_exchange(&done, 1)) {
        if (strcmp(fault, "refused") == 0) {
            errno = EIO;
            return -1;
        }
        snprintf(path, sizeof path, "%s/hangs", place);
        close(open(path, O_WRONLY | O_CREAT, 0600));
        while (!stands(place, "go")) usleep(1000);
    }
    return real(fd);
}
