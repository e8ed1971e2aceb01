// The subcommands: each declares itself in the table of the command line and returns its exit code
// when it is run.
//
// Exit codes: 0 ok, 1 failed, 2 usage, 3 (status only) not everything is in the store. Errors go to
// stderr as one sentence behind "cairn: ".
#pragma once

#include "cache/base/result.h"
#include "tools/command_line.h"
#include "tools/compose.h"
#include "tools/target.h"

namespace cairn {

void add_format_command(CommandLine& line);
void add_mount_command(CommandLine& line);
void add_umount_command(CommandLine& line);
void add_status_command(CommandLine& line);
void add_flush_command(CommandLine& line);
void add_cache_commands(CommandLine& line);  // pin, unpin, warm, evict
void add_snapshot_command(CommandLine& line);
void add_gc_command(CommandLine& line);
void add_check_command(CommandLine& line);
void add_dump_command(CommandLine& line);
void add_recover_command(CommandLine& line);
void add_ls_command(CommandLine& line);
void add_get_command(CommandLine& line);
void add_put_commands(CommandLine& line);  // put, set

inline constexpr const char* kRemoteHelp =
    "the volume: s3://bucket[/prefix], bucket[:prefix], file:///dir, /dir or ./dir";

inline constexpr const char* kTargetHelp =
    "s3://bucket/key, bucket:key, file:///path, or a path in a mount";

// The options that say how a store is reached, with the names of the field, and where options may
// come from beside the command line. `format` has another use for --profile and keeps only
// --aws-profile.
void add_store_options(Command& command, StoreOptions& options,
                       const char* profile_names = "profile,aws-profile");

// Where options of a store were typed.
enum class StoreUse : uint8_t {
  kRead,     // nothing is put
  kWritten,  // objects are put
};
// What was typed and would do nothing: on a path in a mount, of a directory, or where nothing is
// put. Not what a file or the environment says, which is for other calls, too. kInvalid.
Status check_store_options(const std::vector<std::string>& typed, const Target& target,
                           StoreUse use);

// Prints "cairn: <message>" and returns kExitFailed.
int complain(const Error& error);
// The same before anything was done: kExitUsage when the call itself is wrong.
int refuse(const Error& error);

}  // namespace cairn
