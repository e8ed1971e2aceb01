// The options of filters, and which mounts they are for.
#pragma once

#include "cache/filter.h"
#include "tools/command.h"

namespace cairn {

// `policies` must live as long as the command.
void add_filter_options(Command& command, FilterPolicies& policies);
// kInvalid, with the rule, when one asks for what this mount does not find out.
Status check_filters(const FilterPolicies& policies, bool full_attrs);
bool has_filters(const FilterPolicies& policies);

}  // namespace cairn
