// Preloaded into headscope (LD_PRELOAD): a disk that fails on demand, and a record of all that is done to it.
//
// HEADSCOPE_IO_FOLDER: only calls on paths in this folder are seen, the folder itself included.
// HEADSCOPE_IO_FAULT: "ENOSPC write 3" lets the third write fail with ENOSPC.
//   Faults: ENOSPC (the disk stays full, later calls that need room fail too), any other name of an errno in the table
//   below, SHORT (half of the bytes go through), KILL (the process dies right before the call), ROT (one bit of
//   what is written is another, and nobody says so).
//   Calls that change the disk: open (for writing), write, fsync, close (of what was open for writing), rename, unlink,
//   mkdir, flock. Calls that look at it: look (open for reading, also of a folder), read, stat, list (readdir). Calls of
//   a process that reads for another: pipe, fork, wait, send (write to a pipe); read from one is a read.
// HEADSCOPE_IO_TRACE: file that takes every call that changed the disk: a line of fields with tabs between them, and
//   after that of a write its bytes. Opens of folders are among them, for fsync; and the fault, when it happens.
//
// Relative paths are followed where they are relative to an open folder (openat and its like), file offsets are not, and two threads must not write at once: headscope does neither.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

enum { files = 4096 };
enum Use { unseen = 0, written, looked_at, folder, piped };
static char use_of[files];  // by descriptor

static const char* setting(const char* name) {
    const char* value = getenv(name);
    return value == NULL ? "" : value;
}

static int is_seen(const char* path) {
    const char* folder_path = setting("HEADSCOPE_IO_FOLDER");
    const size_t length = strlen(folder_path);
    return length > 0 && strncmp(path, folder_path, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

enum { longest_path = 4096 };

// The path of what is named relative to an open folder, in `space`; `path` itself when it is not.
static const char* absolute(int base, const char* path, char space[longest_path]) {
    if (base == AT_FDCWD || path[0] == '/') return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", base);
    const ssize_t length = syscall(SYS_readlink, link, space, longest_path - 1);
    if (length < 0) return path;
    space[length] = '\0';
    if (strcmp(path, ".") == 0) return space;
    snprintf(space + length, (size_t)(longest_path - length), "/%s", path);
    return space;
}

static enum Use use(int file) { return file >= 0 && file < files ? (enum Use)use_of[file] : unseen; }

static int fail(int error) {
    errno = error;
    return -1;
}

// --- record ---

static void record_bytes(const void* bytes, size_t size) {
    static int trace = -1;
    if (trace < 0)
        trace = (int)syscall(SYS_openat, AT_FDCWD, setting("HEADSCOPE_IO_TRACE"),
                             O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (syscall(SYS_write, trace, bytes, size) != (long)size) abort();
}

__attribute__((format(printf, 1, 2))) static void record(const char* format, ...) {
    if (*setting("HEADSCOPE_IO_TRACE") == '\0') return;
    const int error = errno;
    char line[8192];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    record_bytes(line, (size_t)length);
    errno = error;
}

// --- faults ---

static const struct {
    const char* name;
    int number;
} errors[] = {{"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR},   {"EINVAL", EINVAL},
              {"EIO", EIO},       {"EMFILE", EMFILE}, {"ENOENT", ENOENT}, {"ENOLCK", ENOLCK}, {"EPERM", EPERM},
              {"EROFS", EROFS}};

// What is to happen to this call: 0, an errno, -1 for a short write, or -2 for a wrong one.
static int fault_of(const char* call) {
    static int seen = 0, full = 0;
    char fault[16], faulty_call[16];
    int number;
    if (sscanf(setting("HEADSCOPE_IO_FAULT"), "%15s %15s %d", fault, faulty_call, &number) != 3) return 0;
    const int needs_room = strcmp(call, "open") == 0 || strcmp(call, "write") == 0 || strcmp(call, "mkdir") == 0;
    if (full && needs_room) return ENOSPC;
    if (strcmp(call, faulty_call) != 0 || ++seen != number) return 0;
    record("fault\t%s\n", call);
    if (strcmp(fault, "KILL") == 0) raise(SIGKILL);
    if (strcmp(fault, "SHORT") == 0) return -1;
    if (strcmp(fault, "ROT") == 0) return -2;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
        if (strcmp(fault, errors[i].name) == 0) return errors[i].number;
    full = strcmp(fault, "ENOSPC") == 0;
    if (!full) abort();
    return ENOSPC;
}

// --- calls ---

static int open_and_note(int base, const char* name, int flags, mode_t mode) {
    char space[longest_path];
    const char* const path = absolute(base, name, space);
    const int writing = (flags & (O_ACCMODE | O_CREAT)) != 0, seen = is_seen(path);
    if (seen) {
        const int error = fault_of(writing ? "open" : "look");
        if (error > 0) return fail(error);
    }
    const int file = (int)syscall(SYS_openat, base, name, flags, mode);
    if (file < 0 || file >= files) return file;
    use_of[file] = (char)(!seen ? unseen : writing ? written : (flags & O_DIRECTORY) != 0 ? folder : looked_at);
    if (use_of[file] == written) record("open\t%d\t%s\t%d\n", file, path, (flags & (O_TRUNC | O_EXCL)) != 0);
    if (use_of[file] == folder) record("folder\t%d\t%s\n", file, path);
    return file;
}

#define MODE_ARGUMENT                               \
    mode_t mode = 0;                                \
    if ((flags & (O_CREAT | __O_TMPFILE)) != 0) {   \
        va_list arguments;                          \
        va_start(arguments, flags);                 \
        mode = (mode_t)va_arg(arguments, unsigned); \
        va_end(arguments);                          \
    }

int open(const char* path, int flags, ...) {
    MODE_ARGUMENT
    return open_and_note(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
    MODE_ARGUMENT
    return open_and_note(AT_FDCWD, path, flags, mode);
}

int openat(int base, const char* path, int flags, ...) {
    MODE_ARGUMENT
    return open_and_note(base, path, flags, mode);
}

int openat64(int base, const char* path, int flags, ...) {
    MODE_ARGUMENT
    return open_and_note(base, path, flags, mode);
}

static ssize_t write_rotten(int file, const void* bytes, size_t size) {
    char* rotten = malloc(size);
    memcpy(rotten, bytes, size);
    rotten[size / 2] ^= 1;
    const ssize_t done = syscall(SYS_write, file, rotten, size);
    free(rotten);
    return done;
}

ssize_t write(int file, const void* bytes, size_t size) {
    if (use(file) == piped) {
        const int error = fault_of("send");
        return error > 0 ? fail(error) : syscall(SYS_write, file, bytes, error == -1 ? (size + 1) / 2 : size);
    }
    if (use(file) != written) return syscall(SYS_write, file, bytes, size);
    const int error = fault_of("write");
    if (error > 0) return fail(error);
    const ssize_t done = error == -2 ? write_rotten(file, bytes, size)
                                     : syscall(SYS_write, file, bytes, error == -1 ? (size + 1) / 2 : size);
    if (done > 0 && *setting("HEADSCOPE_IO_TRACE") != '\0') {
        record("write\t%d\t%zd\n", file, done);
        record_bytes(bytes, (size_t)done);
    }
    return done;
}

ssize_t read(int file, void* bytes, size_t size) {
    const int error = use(file) == looked_at ? fault_of("read") : 0;
    return error > 0 ? fail(error) : syscall(SYS_read, file, bytes, error == -1 ? (size + 1) / 2 : size);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
    const int error = use(file) == looked_at ? fault_of("read") : 0;
    return error > 0 ? fail(error) : syscall(SYS_pread64, file, bytes, error == -1 ? (size + 1) / 2 : size, offset);
}

int stat(const char* path, struct stat* status) {
    const int error = is_seen(path) ? fault_of("stat") : 0;
    return error > 0 ? fail(error) : REAL(stat)(path, status);
}

int lstat(const char* path, struct stat* status) {
    const int error = is_seen(path) ? fault_of("stat") : 0;
    return error > 0 ? fail(error) : REAL(lstat)(path, status);
}

int fstat(int file, struct stat* status) {
    const int error = use(file) == looked_at || use(file) == folder ? fault_of("stat") : 0;
    return error > 0 ? fail(error) : REAL(fstat)(file, status);
}

int pipe2(int ends[2], int flags) {
    const int error = fault_of("pipe");
    if (error > 0) return fail(error);
    const int status = REAL(pipe2)(ends, flags);
    if (status == 0 && ends[0] < files && ends[1] < files) {
        use_of[ends[0]] = looked_at;
        use_of[ends[1]] = piped;
    }
    return status;
}

pid_t fork(void) {
    const int error = fault_of("fork");
    return error > 0 ? fail(error) : REAL(fork)();
}

pid_t waitpid(pid_t child, int* status, int options) {
    const int error = fault_of("wait");
    return error > 0 ? fail(error) : REAL(waitpid)(child, status, options);
}

struct dirent* readdir(DIR* list) {
    const int error = use(dirfd(list)) == folder ? fault_of("list") : 0;
    if (error <= 0) return REAL(readdir)(list);
    errno = error;
    return NULL;
}

int closedir(DIR* list) {
    const int file = dirfd(list);
    if (use(file) != unseen) record("close\t%d\n", file);
    if (file >= 0 && file < files) use_of[file] = unseen;
    return REAL(closedir)(list);
}

int fsync(int file) {
    if (use(file) == written || use(file) == folder) {
        const int error = fault_of("fsync");
        if (error > 0) return fail(error);
        record("fsync\t%d\n", file);
    }
    return REAL(fsync)(file);
}

int flock(int file, int operation) {
    const int error = use(file) == folder ? fault_of("flock") : 0;
    return error > 0 ? fail(error) : REAL(flock)(file, operation);
}

int fdatasync(int file) { return fsync(file); }

// Linux closes the file whatever it answers.
int close(int file) {
    const enum Use was = use(file);
    if (was != unseen) use_of[file] = unseen;
    if (was == written || was == folder) record("close\t%d\n", file);
    const int error = was == written ? fault_of("close") : 0;
    const int status = REAL(close)(file);
    return error > 0 ? fail(error) : status;
}

int renameat(int from_base, const char* from_name, int to_base, const char* to_name) {
    char from_space[longest_path], to_space[longest_path];
    const char* const from = absolute(from_base, from_name, from_space);
    const char* const to = absolute(to_base, to_name, to_space);
    const int error = is_seen(to) ? fault_of("rename") : 0;
    if (error > 0) return fail(error);
    const int status = REAL(renameat)(from_base, from_name, to_base, to_name);
    if (status == 0 && is_seen(to)) record("rename\t%s\t%s\n", from, to);
    return status;
}

int rename(const char* from, const char* to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int base, const char* name, int flags) {
    char space[longest_path];
    const char* const path = absolute(base, name, space);
    const int error = is_seen(path) ? fault_of("unlink") : 0;
    if (error > 0) return fail(error);
    const int status = REAL(unlinkat)(base, name, flags);
    if (status == 0 && is_seen(path)) record("unlink\t%s\n", path);
    return status;
}

int unlink(const char* path) { return unlinkat(AT_FDCWD, path, 0); }

int mkdirat(int base, const char* name, mode_t mode) {
    char space[longest_path];
    const char* const path = absolute(base, name, space);
    const int error = is_seen(path) ? fault_of("mkdir") : 0;
    if (error > 0) return fail(error);
    const int status = REAL(mkdirat)(base, name, mode);
    if (status == 0 && is_seen(path)) record("mkdir\t%s\n", path);
    return status;
}

int mkdir(const char* path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int fstatat(int base, const char* name, struct stat* status, int flags) {
    char space[longest_path];
    const int error = is_seen(absolute(base, name, space)) ? fault_of("stat") : 0;
    return error > 0 ? fail(error) : REAL(fstatat)(base, name, status, flags);
}
