#include "s3/metered_store.h"

#include <utility>

namespace cairn {

MeteredStore::MeteredStore(std::shared_ptr<ObjectStore> base)
    : base_(std::move(base)), counters_(std::make_shared<Counters>()) {}

template <class T>
void MeteredStore::finished(Counters& counters, const Result<T>& result) {
  --counters.in_flight;
  if (result) return;
  const Errc code = result.error().code();
  if (code != Errc::kNotFound && code != Errc::kPrecondition) ++counters.failed;
}

template <class T>
Callback<T> MeteredStore::counted(std::atomic<uint64_t>& kind, Callback<T> done) {
  ++kind;
  ++counters_->in_flight;
  return [counters = counters_, done = std::move(done)](Result<T> result) {
    finished(*counters, result);
    done(std::move(result));
  };
}

void MeteredStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  ++counters_->get;
  ++counters_->in_flight;
  base_->get(std::move(key), range, std::move(context),
             [counters = counters_, done = std::move(done)](Result<GetResult> result) {
               if (result) counters->bytes_read += result->bytes.size();
               finished(*counters, result);
               done(std::move(result));
             });
}

void MeteredStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  base_->head(std::move(key), std::move(context), counted(counters_->head, std::move(done)));
}

void MeteredStore::put(std::string key, Body body, PutHow how, Context context,
                       Callback<std::string> done) {
  ++(body.has_object_ranges() ? counters_->copy : counters_->put);
  ++counters_->in_flight;
  const uint64_t size = body.own_bytes();
  base_->put(std::move(key), std::move(body), std::move(how), std::move(context),
             [counters = counters_, size, done = std::move(done)](Result<std::string> result) {
               if (result) counters->bytes_written += size;
               finished(*counters, result);
               done(std::move(result));
             });
}

void MeteredStore::remove(std::string key, Context context, Callback<void> done) {
  base_->remove(std::move(key), std::move(context), counted(counters_->remove, std::move(done)));
}

void MeteredStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                        Callback<ListPage> done) {
  base_->list(std::move(scope), std::move(after), limit, std::move(context),
              counted(counters_->list, std::move(done)));
}

RequestCounts MeteredStore::counts() const {
  RequestCounts counts;
  counts.get = counters_->get;
  counts.put = counters_->put;
  counts.list = counters_->list;
  counts.remove = counters_->remove;
  counts.head = counters_->head;
  counts.copy = counters_->copy;
  counts.failed = counters_->failed;
  counts.bytes_read = counters_->bytes_read;
  counts.bytes_written = counters_->bytes_written;
  counts.in_flight = counters_->in_flight;
  return counts;
}

void MeteredStore::head_version(std::string key, std::string version, Context context,
                                Callback<ObjectHead> done) {
  base_->head_version(std::move(key), std::move(version), std::move(context),
                      counted(counters_->head, std::move(done)));
}

void MeteredStore::get_tags(std::string key, std::string version, Context context,
                            Callback<ObjectTags> done) {
  base_->get_tags(std::move(key), std::move(version), std::move(context),
                  counted(counters_->get, std::move(done)));
}

void MeteredStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                            Callback<void> done) {
  base_->put_tags(std::move(key), std::move(version), std::move(tags), std::move(context),
                  counted(counters_->put, std::move(done)));
}

void MeteredStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                 Context context, Callback<VersionPage> done) {
  base_->list_versions(std::move(scope), std::move(after), limit, std::move(context),
                       counted(counters_->list, std::move(done)));
}

void MeteredStore::keeps_versions(Context context, Callback<bool> done) {
  base_->keeps_versions(std::move(context), counted(counters_->get, std::move(done)));
}

}  // namespace cairn
