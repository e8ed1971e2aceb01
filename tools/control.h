// The control socket of a running mount: one JSON object per line, each way. Mode 0600.
//
// A client sends {"command": "status" | "flush" | "umount", ...}; the daemon answers any number of
// {"progress": ...} lines and one final line with "ok". A client of `umount` then stays connected
// and gets {"closed": true|false, ...} when the daemon ends.
// Where: one socket per mount point in the run directory, named by the digest of its path.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/base/result.h"

namespace cairn {

using Json = nlohmann::json;

// As one line, without its end. Bytes that are no UTF-8 (names of files may be any) are replaced.
std::string json_line(const Json& json);

// /run/cairn for root, else $XDG_RUNTIME_DIR/cairn or ~/.cache/cairn/run. Made when missing.
Result<std::string> run_directory();
// The canonical form under which a mount point is known.
Result<std::string> canonical_mountpoint(const std::string& path);
Result<std::string> control_path(const std::string& mountpoint);
std::string control_path_in(const std::string& directory, const std::string& mountpoint);
// Where the daemons of another user may have their run directory.
std::vector<std::string> run_directories_of(uid_t user);

class ControlServer {
 public:
  // False: the client is gone, nobody waits for the answer.
  using Progress = std::function<bool(const Json&)>;
  // Answers one request; may take long and send progress, which also tells whether the client is
  // still there. Runs on the executor.
  using Handler = std::function<Json(const Json& request, const Progress& progress)>;

  static Result<std::unique_ptr<ControlServer>> open(const std::string& path, Executor& executor,
                                                     Handler handler);
  ~ControlServer();
  // Takes no more requests and waits for those under way; idempotent.
  void stop();
  // Says goodbye to clients that wait for the end, and closes the socket.
  void close(const Json& last_word);

 private:
  ControlServer(int fd, std::string path, Executor& executor, Handler handler);
  void accept_loop();
  void serve(int fd);
  Json answer_to(const Json& request, int fd);

  int fd_;
  int wake_[2] = {-1, -1};
  std::string path_;
  Executor& executor_;
  Handler handler_;
  RankedMutex<Rank::kControl> mutex_;
  ConditionVariable idle_;
  std::vector<int> waiting_;  // clients that stay for the end
  unsigned running_ = 0;
  bool closing_ = false;  // takes no more requests
  bool closed_ = false;   // said goodbye
};

class ControlClient {
 public:
  // kNotFound: nothing is mounted there by us.
  static Result<std::unique_ptr<ControlClient>> connect(const std::string& socket_path);
  ~ControlClient();
  Status send(const Json& request);
  // The next line; kNotFound at the end of the connection. kTimeout when none has come after
  // `patience` (0: there is no end to it); what comes later is there for the next call.
  Result<Json> receive(Duration patience = Duration(0));
  // The daemon's; 0 when it cannot be seen from here.
  pid_t peer() const;

 private:
  explicit ControlClient(int fd) : fd_(fd) {}
  int fd_;
  std::string buffered_;
};

}  // namespace cairn
