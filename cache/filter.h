// Filter: rules that say which objects a policy is for. README.md ("Filters") has the language.
//
//   photos/2024/**                  of the bucket `photos` what lies below 2024/
//   !/**/*.tmp                      at no place below the mount point what ends with .tmp
//   /**[hdr:content-length<100M][tag:kind!=raw]
//
// Rules are in order and the last one that matches decides; `!` excludes. What no rule matches is
// the opposite of what the first rule says; without rules it is what the policy is without them.
// Some of what a rule asks for may not be known: the answer is then unknown, unless it is the same
// either way, and says what would have to be asked for.
// Values; pure; safe from any thread. Errors: kInvalid, with the rule and a caret under the place.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/base/result.h"
#include "cache/filter_glob.h"

namespace cairn {

using FilterPairs = std::vector<std::pair<std::string, std::string>>;

// What is known of an object. Null and unset: not known.
struct FilterSubject {
  std::string_view bucket;
  std::string_view key;   // in the bucket
  std::string_view path;  // below the mount point
  std::optional<uint64_t> size;
  const std::string* content_type = nullptr;
  const FilterPairs* metadata = nullptr;
  const FilterPairs* tags = nullptr;
  const FilterPairs* bucket_tags = nullptr;
};

struct FilterPredicate {
  enum class Of : uint8_t { kTag, kMetadata, kContentType, kContentLength };
  enum class Op : uint8_t { kIs, kIsNot, kLess, kAtMost, kMore, kAtLeast };
  Of of = Of::kTag;
  std::string name;  // of a tag or metadata
  Op op = Op::kIs;
  Glob value;           // of kIs and kIsNot, but for sizes
  uint64_t number = 0;  // of all others
  bool is_number() const { return of == Of::kContentLength || (op != Op::kIs && op != Op::kIsNot); }
};

struct FilterRule {
  bool excludes = false;
  bool of_path = false;  // below the mount point, instead of bucket and key
  Glob bucket;
  std::vector<FilterPredicate> bucket_predicates;  // of its tags
  Glob key;
  std::vector<FilterPredicate> predicates;

  static constexpr size_t kBytesMost = 4096;
  static constexpr size_t kPredicatesMost = 32;
  static Result<FilterRule> parse(std::string_view text);
  std::string text() const;
};

class Filter {
 public:
  static constexpr size_t kRulesMost = 1000;

  // What is so where there are no rules.
  explicit Filter(bool without_rules) : without_rules_(without_rules) {}
  // Puts a rule behind the others; of a text of several lines one for each, but for empty ones and
  // those that begin with '#'.
  Status add(std::string_view text);
  bool empty() const { return rules_.empty(); }
  const std::vector<FilterRule>& rules() const { return rules_; }

  struct Needs {
    bool size = false, headers = false, tags = false, bucket_tags = false;
    bool any() const { return size || headers || tags || bucket_tags; }
  };
  // Unset: unknown without what is needed.
  struct Answer {
    std::optional<bool> included;
    Needs needs;
  };
  Answer ask(const FilterSubject& subject) const;
  // May anything be included whose key and path begin so? Unset: it depends on the bucket's tags.
  Answer any_below(const FilterSubject& directory) const;
  // What rules ask for at all.
  Needs needs() const;

 private:
  bool otherwise() const { return rules_.empty() ? without_rules_ : rules_.front().excludes; }

  bool without_rules_;
  std::vector<FilterRule> rules_;
};

// One list for each policy.
struct FilterPolicies {
  Filter visible{true};    // is shown
  Filter cache{true};      // stays on the local disk after it was read
  Filter pin{false};       // is never evicted
  Filter prefetch{false};  // is fetched whole when it is opened
  Filter upload{true};     // goes to the store
};

}  // namespace cairn
