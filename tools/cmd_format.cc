#include <unistd.h>

#include <iostream>

#include "cache/base/log.h"
#include "cache/volume_format.h"
#include "s3/conditional_probe.h"
#include "tools/commands.h"
#include "tools/format.h"
#include "tools/host_name.h"
#include "tools/units.h"

namespace cairn {

Result<VolumeFile> format_remote(ObjectStore& store, const FormatSettings& settings,
                                 Runtime& runtime, Context context) {
  FormatOptions options;
  options.chunk_size = settings.chunk_bytes;
  options.links_per_node = settings.links_per_node;
  options.fanout_bits = settings.fanout_bits;
  options.profile = settings.profile;
  options.quota_bytes = settings.quota_bytes;
  options.uid = ::getuid();
  options.gid = ::getgid();
  options.host = host_name();
  options.accept_failed_probe = settings.unsafe_single_writer;
  options.probe = [&]() -> Result<VolumeProbe> {
    TRY_ASSIGN(const ProbeReport report,
               probe_conditional_create(store, "probe/", os_rng(), context));
    VolumeProbe probe;
    probe.passed = report.passed();
    probe.result = probe.passed ? fmt::format("passed: one winner in each of {} rounds of {}",
                                              report.rounds, report.racers)
                                : report.first_violation;
    return probe;
  };
  return format_volume(store, runtime.work, system_clock(), os_rng(), options, context);
}

Status apply_profile(const std::string& profile, FormatSettings& settings) {
  if (profile == "default") return {};
  if (profile != "unixfs-v1-2025")
    return fail(Errc::kInvalid, "--profile " + profile +
                                    " is not known; the profiles are default and unixfs-v1-2025");
  settings.profile = profile;
  settings.chunk_bytes = 1U << 20;
  settings.links_per_node = 1024;
  return {};
}

namespace {

struct FormatArguments {
  std::string remote;
  std::string profile = "default";
  std::optional<uint64_t> chunk_bytes;
  FormatSettings settings;
  StoreOptions store;
};

int run_format(FormatArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto url = parse_remote_url(arguments.remote);
  if (!url) return complain(url.error()), kExitUsage;
  if (const Status known = apply_profile(arguments.profile, arguments.settings); !known)
    return complain(known.error()), kExitUsage;
  if (arguments.chunk_bytes) arguments.settings.chunk_bytes = *arguments.chunk_bytes;
  Runtime runtime;
  const Context context = Context();
  const auto stack = open_store(*url, arguments.store, true, runtime);
  if (!stack) return complain(stack.error());
  if (const Status access = stack->check_access(context); !access) return complain(access.error());
  const auto volume = format_remote(*stack->store, arguments.settings, runtime, context);
  if (!volume) return complain(volume.error());
  std::cout << "Made a volume at " << url->text() << " (chunks of "
            << format_size(arguments.settings.chunk_bytes) << ", id " << volume->uuid << ").\n"
            << "Mount it with: cairn mount " << url->text() << " MOUNTPOINT\n";
  return kExitOk;
}

}  // namespace

void add_format_command(CLI::App& app, Chosen& chosen) {
  auto arguments = std::make_shared<FormatArguments>();
  CLI::App* command = app.add_subcommand("format", "Make a volume where nothing lies yet");
  command->add_option("REMOTE", arguments->remote, "s3://bucket[/prefix], file:///dir or ./dir")
      ->required();
  command->add_option("--profile", arguments->profile,
                      "how files become blocks: default, or unixfs-v1-2025 (1 MiB, 1024 links)");
  command->add_option("--chunk-size", arguments->chunk_bytes, "bytes of a chunk (default 256K)")
      ->transform(size_option());
  command
      ->add_option("--max-file-links", arguments->settings.links_per_node,
                   "links of a file's inner node")
      ->capture_default_str();
  command
      ->add_option("--fanout-bits", arguments->settings.fanout_bits,
                   "fanout of the tree: 2 (as atproto) to 5")
      ->capture_default_str();
  command->add_option("--quota", arguments->settings.quota_bytes, "largest size of all files")
      ->transform(size_option());
  command->add_flag("--unsafe-single-writer", arguments->settings.unsafe_single_writer,
                    "accept a store without atomic conditional creates: two writers may corrupt "
                    "the volume");
  add_store_options(*command, arguments->store, "--aws-profile");
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return run_format(*arguments); }; });
}

}  // namespace cairn
