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

Result<VolumeFile> format_remote(const StoreStack& stack, const FormatSettings& settings,
                                 Runtime& runtime, Context context) {
  ObjectStore& store = *stack.store;
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
    if (const std::string server = stack.server(); !probe.passed && !server.empty())
      probe.result += ", on " + server;
    return probe;
  };
  return format_volume(store, runtime.work, system_clock(), os_rng(), options, context);
}

namespace {

void apply_profile(const std::string& profile, FormatSettings& settings) {
  if (profile == "default") return;
  settings.profile = profile;
  settings.chunk_bytes = 1U << 20;
  settings.links_per_node = 1024;
}

struct FormatArguments {
  std::string remote;
  std::string profile = "default";
  std::optional<uint64_t> chunk_bytes, links_per_node;
  FormatSettings settings;
  StoreOptions store;
};

int run_format(FormatArguments& arguments) {
  set_log_level(LogLevel::kError);
  const auto url = parse_remote_url(arguments.remote);
  if (!url) return complain(url.error()), kExitUsage;
  apply_profile(arguments.profile, arguments.settings);
  if (arguments.chunk_bytes) arguments.settings.chunk_bytes = *arguments.chunk_bytes;
  if (arguments.links_per_node) arguments.settings.links_per_node = *arguments.links_per_node;
  Runtime runtime;
  const Context context = Context();
  const auto stack = open_store(*url, arguments.store, true, runtime);
  if (!stack) return complain(stack.error());
  if (const Status access = stack->check_access(context); !access) return complain(access.error());
  const auto volume = format_remote(*stack, arguments.settings, runtime, context);
  if (!volume) return complain(volume.error());
  std::cout << "Made a volume at " << url->text() << " (chunks of "
            << format_size(arguments.settings.chunk_bytes) << ", id " << volume->uuid << ").\n"
            << "Mount it with: cairn mount " << url->text() << " MOUNTPOINT\n";
  return kExitOk;
}

}  // namespace

void add_format_command(CommandLine& line) {
  auto arguments = std::make_shared<FormatArguments>();
  FormatSettings& settings = arguments->settings;
  Command& command = line.add("format", "Make a volume where nothing lies yet");
  command.argument("REMOTE", ValueKind::kRemote, arguments->remote,
                   "where: s3://bucket[/prefix], bucket[:prefix], file:///dir, /dir or ./dir");
  command
      .choice("profile", arguments->profile, {"default", "unixfs-v1-2025"},
              "how files become blocks; unixfs-v1-2025 is 1 MiB and 1024 links")
      .fallback("default")
      .only_typed();
  command.size("chunk-size", arguments->chunk_bytes, "bytes of a chunk").fallback("256K");
  command.count("max-file-links", arguments->links_per_node, "links of a file's inner node")
      .fallback("174");
  command.count("fanout-bits", settings.fanout_bits, "fanout of the tree, 2 (as atproto) to 5")
      .fallback("2");
  command.size("quota", settings.quota_bytes, "largest size of all files").fallback("none");
  command
      .flag("unsafe-single-writer", settings.unsafe_single_writer,
            "accept a store without atomic conditional creates: two writers may corrupt the volume")
      .only_typed();
  command.about(
      "Makes an empty volume at REMOTE. A place that is not empty is refused and left alone. First "
      "the store is tried: it must let exactly one of many creates of the same object succeed.");
  command.example("cairn format s3://bucket/data", "a volume under a prefix of a bucket");
  command.example("cairn format --endpoint-url http://host:9000 s3://bucket", "on another server");
  add_store_options(command, arguments->store, "aws-profile");
  command.run([arguments] { return run_format(*arguments); });
}

}  // namespace cairn
