// The subcommands: each adds itself to the command line and returns its exit code when chosen.
//
// Exit codes: 0 ok, 1 failed, 2 usage, 3 (status only) not everything is in the store. Errors go to
// stderr as one sentence behind "cairn: ".
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "cache/base/result.h"
#include "tools/compose.h"

namespace cairn {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotStored = 3;  // status: something is not in the store yet

// Set by the subcommand that was chosen; run by main after parsing.
using Chosen = std::function<int()>;

void add_format_command(CLI::App& app, Chosen& chosen);
void add_mount_command(CLI::App& app, Chosen& chosen);
void add_umount_command(CLI::App& app, Chosen& chosen);
void add_status_command(CLI::App& app, Chosen& chosen);
void add_flush_command(CLI::App& app, Chosen& chosen);
void add_cache_commands(CLI::App& app, Chosen& chosen);  // pin, unpin, warm, evict
void add_check_command(CLI::App& app, Chosen& chosen);
void add_dump_command(CLI::App& app, Chosen& chosen);
void add_recover_command(CLI::App& app, Chosen& chosen);

// The options that say how a store is reached, with the names of the field. `format` has another
// use for --profile and keeps only --aws-profile.
void add_store_options(CLI::App& command, StoreOptions& options,
                       const char* profile_names = "--profile,--aws-profile");
// Transforms for sizes and durations with suffixes; a bad value is a usage error.
CLI::Validator size_option();
CLI::Validator duration_option();

// Prints "cairn: <message>" and returns kExitFailed.
int complain(const Error& error);

}  // namespace cairn
