// Making a volume, as `cairn format` and `cairn mount --create` do it.
#pragma once

#include <string>

#include "cache/volume_format.h"
#include "tools/compose.h"

namespace cairn {

struct FormatSettings {
  uint64_t chunk_bytes = 256 * 1024;
  uint64_t links_per_node = 174;
  uint64_t fanout_bits = 2;
  uint64_t quota_bytes = 0;
  std::string profile = "default";
  bool unsafe_single_writer = false;
};

Result<VolumeFile> format_remote(const StoreStack& stack, const FormatSettings& settings,
                                 Runtime& runtime, Context context);

}  // namespace cairn
