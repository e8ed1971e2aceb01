// S3Buckets: the buckets that the credentials may list, and a store for each.
//
// All share one HTTP pool and one set of credentials. A bucket's store begins in the region that
// the list named (AWS) and follows the bucket from there. Stores are made when they are asked for
// and kept, up to a bound.
// Thread-safe. Owner: AllBucketsStore, and whoever else looks at single buckets. Errors: those of
// S3Client; kIo when the list does not come to an end.
// Source: Amazon S3 API reference (ListBuckets).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "s3/all_buckets_store.h"
#include "s3/s3_store.h"

namespace cairn {

class S3Buckets final : public BucketSource, public std::enable_shared_from_this<S3Buckets> {
 public:
  // The settings of every bucket's store; bucket and prefix are empty.
  static Result<std::shared_ptr<S3Buckets>> make(S3Settings settings, S3Parts parts);

  void list(Context context, Callback<std::vector<std::string>> done) override;
  Result<std::shared_ptr<ObjectStore>> open(const std::string& bucket) override;
  std::string description() const override { return "s3://"; }
  Result<std::shared_ptr<S3Store>> open_store(const std::string& bucket);
  std::string server() const { return service_->server(); }
  // As S3Store's, of the list of buckets.
  Status check_access_sync(Context context);

 private:
  struct Listing;
  S3Buckets(S3Settings settings, S3Parts parts, std::shared_ptr<S3Client> service)
      : settings_(std::move(settings)), parts_(std::move(parts)), service_(std::move(service)) {}
  void list_page(const std::shared_ptr<Listing>& listing);
  void listed(const std::shared_ptr<Listing>& listing, const S3Call& sent,
              const Result<S3Answer>& answer);

  const S3Settings settings_;
  const S3Parts parts_;
  const std::shared_ptr<S3Client> service_;
  RankedMutex<Rank::kStore> mutex_;
  std::map<std::string, std::shared_ptr<S3Store>> stores_;  // protected by mutex_
  std::map<std::string, std::string> regions_;              // likewise; of buckets that were listed
};

}  // namespace cairn
