#include "s3/s3_buckets.h"

#include <future>
#include <mutex>
#include <utility>

#include "cache/base/log.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr size_t kPageBuckets = 1000;
constexpr size_t kPageBucketsMax = 20'000;  // of stores that know no pages
constexpr size_t kBucketsMax = 1'000'000;
constexpr unsigned kBucketPagesMax = 1000;
constexpr size_t kStoresMax = 4096;

}  // namespace

struct S3Buckets::Listing {
  Context context;
  Callback<std::vector<std::string>> done;
  std::string token;
  std::vector<S3ListedBucket> buckets;
  unsigned pages = 0;
};

Result<std::shared_ptr<S3Buckets>> S3Buckets::make(S3Settings settings, S3Parts parts) {
  S3Settings of_service = settings;
  of_service.options = {};  // they are said of one bucket
  TRY_ASSIGN(auto service, S3Client::make(std::move(of_service), parts));
  return std::shared_ptr<S3Buckets>(
      new S3Buckets(std::move(settings), std::move(parts), std::move(service)));
}

void S3Buckets::list(Context context, Callback<std::vector<std::string>> done) {
  auto listing = std::make_shared<Listing>();
  listing->context = std::move(context);
  listing->done = std::move(done);
  list_page(listing);
}

void S3Buckets::list_page(const std::shared_ptr<Listing>& listing) {
  S3Call call;
  call.operation = "list";
  call.method = "GET";
  call.query = {{"max-buckets", std::to_string(kPageBuckets)}};
  if (!listing->token.empty()) call.query.emplace_back("continuation-token", listing->token);
  call.context = listing->context;
  call.max_response_bytes = kMaxXmlBytes;
  const S3Call sent = call;
  service_->send(std::move(call),
                 [self = shared_from_this(), listing, sent](const Result<S3Answer>& answer) {
                   self->listed(listing, sent, answer);
                 });
}

void S3Buckets::listed(const std::shared_ptr<Listing>& listing, const S3Call& sent,
                       const Result<S3Answer>& answer) {
  const auto& done = listing->done;
  if (!answer) return done(tl::unexpected<Error>(answer.error()));
  if (answer->response.status != 200)
    return done(tl::unexpected<Error>(service_->error_of(sent, *answer)));
  auto page = parse_list_buckets(answer->response.body, kPageBucketsMax);
  if (!page) return done(tl::unexpected<Error>(std::move(page).error().wrap("list s3://")));
  for (S3ListedBucket& bucket : page->buckets) {
    if (check_bucket(bucket.name)) {
      listing->buckets.push_back(std::move(bucket));
    } else {
      log_once_per(std::chrono::hours(1), "bucket name",
                   "a bucket cannot be shown: its name is none that a bucket can have");
    }
  }
  const bool comes_forward = page->next_token != listing->token && !page->buckets.empty() &&
                             listing->buckets.size() < kBucketsMax &&
                             ++listing->pages < kBucketPagesMax;
  if (!page->next_token.empty() && !comes_forward)
    return done(fail(Errc::kIo, "list s3://: the listing does not come to an end"));
  listing->token = std::move(page->next_token);
  if (!listing->token.empty()) return list_page(listing);
  std::vector<std::string> names;
  std::map<std::string, std::string> regions;
  for (S3ListedBucket& bucket : listing->buckets) {
    if (!bucket.region.empty()) regions.emplace(bucket.name, std::move(bucket.region));
    names.push_back(std::move(bucket.name));
  }
  {
    const std::lock_guard lock(mutex_);
    regions_.swap(regions);
  }
  done(std::move(names));
}

Result<std::shared_ptr<S3Store>> S3Buckets::open_store(const std::string& bucket) {
  // Elsewhere a region is only a word in the signature.
  const bool goes_by_region = service_->is_aws() && settings_.endpoint_url.empty();
  const std::lock_guard lock(mutex_);
  if (const auto there = stores_.find(bucket); there != stores_.end()) return there->second;
  S3Settings settings = settings_;
  settings.bucket = bucket;
  const auto region = regions_.find(bucket);
  if (region != regions_.end() && goes_by_region && check_region_name(region->second))
    settings.region = region->second;
  TRY_ASSIGN(auto made, S3Store::make(std::move(settings), parts_));
  std::shared_ptr<S3Store> store = std::move(made);
  if (stores_.size() >= kStoresMax) stores_.clear();
  stores_.emplace(bucket, store);
  return store;
}

Result<std::shared_ptr<ObjectStore>> S3Buckets::open(const std::string& bucket) {
  TRY_ASSIGN(auto store, open_store(bucket));
  return std::shared_ptr<ObjectStore>(std::move(store));
}

Status S3Buckets::check_access_sync(Context context) {
  std::promise<Result<std::vector<std::string>>> answer;
  list(std::move(context),
       [&](Result<std::vector<std::string>> names) { answer.set_value(std::move(names)); });
  const auto names = answer.get_future().get();
  if (names) return {};
  Error error = names.error();
  if (error.code() == Errc::kIo)
    error = std::move(error).wrap("what answers is no S3 store, check --endpoint-url");
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace cairn
