#include "tools/commands.h"

#include <iostream>

#include "tools/units.h"

namespace cairn {

void add_store_options(CLI::App& command, StoreOptions& options, const char* profile_names) {
  const auto group = "Store";
  command.add_option(profile_names, options.profile, "AWS profile to take credentials from")
      ->group(group);
  command.add_option("--region", options.region, "AWS region of the bucket")->group(group);
  command.add_option("--endpoint-url", options.endpoint_url, "URL of an S3-compatible server")
      ->group(group);
  command.add_option("--ca-bundle", options.ca_bundle, "PEM file with the authorities to trust")
      ->group(group);
  command
      .add_flag("--no-sign-request", options.no_sign_request,
                "send no credentials (public buckets)")
      ->group(group);
  command
      .add_flag("--force-path-style", options.force_path_style,
                "put the bucket into the path instead of the host name")
      ->group(group);
}

CLI::Validator size_option() {
  return CLI::Validator(
      [](std::string& text) {
        const auto size = parse_size(text);
        if (!size) return size.error().message();
        text = std::to_string(*size);
        return std::string();
      },
      "SIZE");
}

CLI::Validator duration_option() {
  return CLI::Validator(
      [](std::string& text) {
        const auto duration = parse_duration(text);
        if (!duration) return duration.error().message();
        text = std::to_string(duration->count());
        return std::string();
      },
      "DURATION");
}

int complain(const Error& error) {
  std::cerr << "cairn: " << error.message() << "\n";
  return kExitFailed;
}

}  // namespace cairn
