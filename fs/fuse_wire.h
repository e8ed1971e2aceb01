// What libfuse before 3.18.3 does not pass on, read and said at the device.
//
// Linux asks for `security.capability` before each write, unless the file system takes suid and
// sgid away when it is told to (FUSE_HANDLE_KILLPRIV_V2): then once, until the inode's attributes
// are read again. libfuse 3.14 neither says so in its answer to INIT nor passes on the bit that
// tells, of a write; 3.17 only says so. Both are words of the kernel's protocol (linux/fuse.h),
// which does not change.
// The capability itself stays Linux's to remove, which it does by REMOVEXATTR as before.
// libfuse 3.18.3 does both, and lets nobody read at the device unless it is built to: it is asked
// for the bit where this was built with its headers. Else each write is preceded by the question.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <string>

#include "cache/base/result.h"

struct fuse_file_info;
struct fuse_session;

namespace cairn {

// After the mount and before the loop. A kernel that does not know the flag does as it did.
Status use_wire(fuse_session* session);

// Of the capabilities that libfuse says it has, the one by which it passes the bit on itself.
unsigned wanted_of_library(unsigned capable);

// Whether libfuse of this version does, if this was built with its headers.
bool passes_bit_on(const std::string& version);

// Whether the write that this thread serves takes suid and sgid away: its caller may not set them.
bool write_kills_bits(const fuse_file_info& file);

// What the session reads and writes with: read(2) and writev(2), and what is said above.
ssize_t read_request(int fd, void* buffer, size_t size);
ssize_t write_reply(int fd, iovec* pieces, int count);

}  // namespace cairn
