// CurlTransfer: one HTTP request on one libcurl easy handle. Used only by CurlPool's thread.
//
// Order: construct, prepare(handle), the pool runs the handle, take_result(code). The transfer must
// stay where it is (curl holds pointers into it) until the handle is out of the multi handle.
#pragma once

#include <curl/curl.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "s3/curl_pool.h"
#include "s3/http.h"

namespace cairn {

class CurlTransfer {
 public:
  CurlTransfer(HttpRequest request, Callback<HttpResponse> done, std::shared_ptr<BytePool> memory)
      : request_(std::move(request)), done_(std::move(done)), memory_(std::move(memory)) {}
  CurlTransfer(const CurlTransfer&) = delete;
  CurlTransfer& operator=(const CurlTransfer&) = delete;

  // Sets every option of the handle (fresh or reset).
  Status prepare(CURL* handle, const CurlOptions& options, Clock& clock);
  // The answer, or the error that `code` stands for. Once.
  Result<HttpResponse> take_result(CURLcode code, Clock& clock);
  // kCancelled or kTimeout when the caller's context says so.
  std::optional<Error> given_up(Clock& clock) const;

  Callback<HttpResponse> take_callback() { return std::move(done_); }
  bool cleans_up() const { return request_.cleans_up; }
  CURL* handle() const { return handle_; }

 private:
  static size_t on_read(char* out, size_t size, size_t count, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);
  static size_t on_header(char* line, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  size_t add_header_line(std::string_view line);
  size_t add_body(Bytes data);
  Status set_headers();
  void set_method();
  Error error_for(CURLcode code, Clock& clock) const;

  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };

  HttpRequest request_;
  Callback<HttpResponse> done_;
  const std::shared_ptr<BytePool> memory_;
  CURL* handle_ = nullptr;
  std::unique_ptr<curl_slist, FreeList> header_list_;
  uint64_t sent_ = 0;  // offset in the body
  HttpResponse response_;
  size_t header_bytes_ = 0;
  std::optional<Error> failure_;  // what one of our callbacks stopped the transfer for
  std::array<char, CURL_ERROR_SIZE> detail_{};
};

}  // namespace cairn
