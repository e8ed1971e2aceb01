// FaultyMount: a mount of a volume in memory behind a store that can be told to fail or to hold.
// comes_true: waits for what other threads do.
//
// Owner: the test.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

namespace cairn::test {

// Half a minute at the most; said again at the end.
inline bool comes_true(const std::function<bool()>& what) {
  for (int tries = 0; tries < 3000 && !what(); ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return what();
}

struct FaultyMount {
  FaultyMount() = default;
  // The process dies, and nothing is held any more.
  ~FaultyMount() {
    store.clear();
    store.release();
    if (mount.is_open()) mount.kill();
    io.stop();
  }
  FaultyMount(const FaultyMount&) = delete;
  FaultyMount& operator=(const FaultyMount&) = delete;

  MemoryEnv env;
  std::unique_ptr<Rng> rng = make_seeded_rng(1);
  ThreadExecutor io{"io", 2};
  FaultyStore store{std::make_shared<MemoryStore>(io, system_clock()),
                    FaultyStore::Parts{io, system_clock(), *rng}};
  TestMount mount{store, env, io};
};

}  // namespace cairn::test
