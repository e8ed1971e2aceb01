#include "tools/filter_options.h"

namespace cairn {

namespace {

// The first rule that asks for what `is_asked` says.
template <class Asked>
const FilterRule* find_rule(const Filter& filter, const Asked& is_asked) {
  for (const FilterRule& rule : filter.rules()) {
    Filter alone(true);
    if (alone.add(rule.text()) && is_asked(alone.needs())) return &rule;
  }
  return nullptr;
}

}  // namespace

void add_filter_options(Command& command, FilterPolicies& policies) {
  command.group("Filters of the objects of a bucket");
  const auto add = [&command](const char* name, Filter& filter, const char* help) -> Option& {
    return command.values(
        name, "RULE", [&filter](const std::string& text) { return filter.add(text); }, help);
  };
  add("filter-visible", policies.visible,
      "which objects are shown; for each of these options: the last rule that matches decides, and "
      "! excludes")
      .fallback("all");
  add("filter-cache", policies.cache, "what stays in the cache after it was read").fallback("all");
  add("filter-pin", policies.pin, "what is pinned once it is opened, as 'cairn pin' does it")
      .fallback("none");
  add("filter-prefetch", policies.prefetch, "what is fetched whole when it is opened")
      .fallback("none");
  add("filter-upload", policies.upload,
      "what is uploaded; what is not is held in the cache, and 'cairn status' says so")
      .fallback("all");
}

bool has_filters(const FilterPolicies& policies) {
  return !policies.visible.empty() || !policies.cache.empty() || !policies.pin.empty() ||
         !policies.prefetch.empty() || !policies.upload.empty();
}

Status check_filters(const FilterPolicies& policies, bool full_attrs) {
  const auto asks = [](const Filter::Needs& needs) { return needs.headers || needs.tags; };
  if (const FilterRule* rule = find_rule(policies.visible, asks); rule != nullptr && !full_attrs)
    return fail(Errc::kInvalid, "--filter-visible '" + rule->text() +
                                    "' asks what each object says of itself, which a listing does "
                                    "not: add --attrs=full (one request an object)");
  return {};
}

}  // namespace cairn
