// cairn: mounts a bucket as a directory.
#include <iostream>

#include "tools/commands.h"

int main(int argc, char** argv) {
  using namespace cairn;
  CLI::App app{
      "cairn mounts an S3 bucket (or a directory) as a POSIX filesystem with a local "
      "write-back cache."};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("cairn ") + CAIRN_VERSION);
  Chosen chosen;
  add_mount_command(app, chosen);
  add_umount_command(app, chosen);
  add_format_command(app, chosen);
  add_status_command(app, chosen);
  add_flush_command(app, chosen);
  add_cache_commands(app, chosen);
  add_check_command(app, chosen);
  add_recover_command(app, chosen);
  add_dump_command(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? kExitOk : kExitUsage;
  }
  return chosen();
}
