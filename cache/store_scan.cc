#include "cache/store_scan.h"

#include <algorithm>
#include <utility>

#include "cache/await.h"
#include "cache/base/failpoint.h"

namespace cairn {
namespace {
constexpr uint32_t kListPage = 1000;
constexpr size_t kRemovesAtOnce = 16;
}  // namespace

std::vector<Result<GetResult>> get_all(ObjectStore& store, const std::vector<std::string>& keys,
                                       uint64_t bytes_max, const Context& context) {
  std::vector<Awaited<GetResult>> answers(keys.size());
  for (size_t i = 0; i < keys.size(); ++i)
    store.get(keys[i], GetRange::from(0, bytes_max), context, answers[i].callback());
  std::vector<Result<GetResult>> results;
  results.reserve(answers.size());
  for (auto& answer : answers) results.push_back(answer.get());
  return results;
}

Status list_all(ObjectStore& store, std::string_view prefix, const Context& context,
                const std::function<void(const ObjectInfo&)>& visit) {
  std::string after;
  while (true) {
    TRY_ASSIGN(const ListPage page,
               list_sync(store, std::string(prefix), after, kListPage, context));
    for (const ObjectInfo& object : page.objects) visit(object);
    if (!page.truncated || page.objects.empty()) return {};
    after = page.objects.back().key;
  }
}

Status remove_all(ObjectStore& store, const std::vector<std::string>& keys,
                  const Context& context) {
  Status first;
  for (size_t at = 0; at < keys.size() && first; at += kRemovesAtOnce) {
    std::vector<Awaited<void>> answers(std::min(keys.size() - at, kRemovesAtOnce));
    for (size_t i = 0; i < answers.size(); ++i)
      store.remove(keys[at + i], context, answers[i].callback());
    for (auto& answer : answers) {
      Status done = answer.get();
      if (!done && first) first = std::move(done);
      CAIRN_FAILPOINT("collect.object_deleted");
    }
  }
  return first;
}

}  // namespace cairn
