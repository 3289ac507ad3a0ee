/* Files of a log: create, map, populate. Plain system calls, so that a lane needs no GIL for them.
 * Every function returns 0 or an errno.
 */
#ifndef PIPELINE_SEGMENT_H
#define PIPELINE_SEGMENT_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

static void pm_segment_path(char *out, size_t out_bytes, const char *directory, uint64_t first) {
    snprintf(out, out_bytes, "%s/%020llu.log", directory, (unsigned long long)first);
}

/* Map an existing file; *bytes is what the file has, at most `bytes_max`. */
static int pm_segment_map(const char *path, int writable, uint64_t bytes_max, unsigned char **base,
                          uint64_t *bytes) {
    struct stat status;
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC), error = 0;
    if (fd < 0) return errno;
    if (fstat(fd, &status)) {
        error = errno;
    } else {
        *bytes = (uint64_t)status.st_size < bytes_max ? (uint64_t)status.st_size : bytes_max;
        int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
        *base = *bytes == 0 ? NULL : mmap(NULL, *bytes, protection, MAP_SHARED, fd, 0);
        if (*base == MAP_FAILED) {
            error = errno;
            *base = NULL;
        }
    }
    close(fd);
    return error;
}

/* Make the file whole before it gets its name: space reserved, header written, owner-only. */
static int pm_segment_create(const char *directory, uint64_t first, uint64_t bytes, const void *header,
                             size_t header_bytes) {
    char path[4200], made[4200];
    int fd, error = 0;
    pm_segment_path(path, sizeof path, directory, first);
    snprintf(made, sizeof made, "%s/%020llu.%ld.tmp", directory, (unsigned long long)first, (long)getpid());
    unlink(made);
    fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    error = posix_fallocate(fd, 0, (off_t)bytes);
    if (!error && pwrite(fd, header, header_bytes, 0) != (ssize_t)header_bytes) error = errno ? errno : EIO;
    close(fd);
    /* link, not rename: a file that another process made meanwhile is never replaced under a mapping */
    if (!error && link(made, path)) error = errno;
    unlink(made);
    return error;
}

/* Reserve again what a truncated file lacks. */
static int pm_segment_extend(const char *path, uint64_t bytes) {
    int fd = open(path, O_RDWR | O_CLOEXEC), error;
    if (fd < 0) return errno;
    error = posix_fallocate(fd, 0, (off_t)bytes);
    close(fd);
    return error;
}

/* Bring pages in ahead of use; touching each page is the way of kernels before 5.14. */
static void pm_segment_populate(unsigned char *base, uint64_t bytes, int writable) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (madvise(base, bytes, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) == 0) return;
    for (uint64_t at = 0; at < bytes; at += page) {
        volatile unsigned char *byte = base + at;
        if (writable)
            *byte = *byte; /* only the owner of unpublished pages does this */
        else
            (void)*byte;
    }
}

static void pm_segment_unmap(unsigned char *base, uint64_t bytes) { munmap(base, bytes); }

#endif
