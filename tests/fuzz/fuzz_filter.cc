// Rules of filters: no crash, no match that takes long, and what is printed is the same rule.
#include <string>
#include <string_view>

#include "cache/filter.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // The first line is the rule, the second what it is asked about.
  const size_t end = std::min(text.find('\n'), text.size());
  const auto rule = FilterRule::parse(text.substr(0, end));
  if (!rule) {
    fuzz::require(rule.error().message().size() < 600, "an error is short");
    fuzz::require(rule.error().message().ends_with('^'), "an error points");
    return 0;
  }
  const std::string_view key = end < size ? text.substr(end + 1).substr(0, 1024) : "";
  const auto again = FilterRule::parse(rule->text());
  // Quotes and escapes may make a rule longer than a rule can be.
  if (!again) {
    fuzz::require(rule->text().size() > FilterRule::kBytesMost, "what is printed can be parsed");
    return 0;
  }
  fuzz::require(again->text() == rule->text(), "printed again it is the same");
  fuzz::require(again->key.matches(key) == rule->key.matches(key), "it matches the same");
  const Glob::Below below = rule->key.below(key);
  if (rule->key.matches(key)) fuzz::require(below != Glob::Below::kNone, "it is below itself");
  if (below == Glob::Below::kAll)
    fuzz::require(rule->key.matches(std::string(key) + "/x"), "all is all");
  Filter filter(true);
  if (!filter.add(rule->text())) return 0;
  const FilterPairs pairs{{std::string(key.substr(0, 8)), std::string(key)}};
  const std::string type(key);
  FilterSubject subject{.bucket = key.substr(0, 8),
                        .key = key,
                        .path = key,
                        .size = {},
                        .content_type = nullptr,
                        .metadata = nullptr,
                        .tags = nullptr,
                        .bucket_tags = nullptr};
  const auto little = filter.ask(subject);
  subject.size = size;
  subject.content_type = &type;
  subject.metadata = subject.tags = subject.bucket_tags = &pairs;
  const auto much = filter.ask(subject);
  fuzz::require(much.included.has_value(), "nothing is unknown when all is known");
  if (little.included)
    fuzz::require(*little.included == *much.included, "knowing more changes no answer");
  return 0;
}
