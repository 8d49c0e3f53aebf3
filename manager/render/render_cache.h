// SPDX-License-Identifier: Apache-2.0
//
// RenderCache remembers what renders came to, so that deployments which agree
// in all that a result depends on share one, also with those of before a
// restart. It is the only writer of /rendercache. The least recently used go
// when there are too many; over a restart the order is that of the first use in
// each life of the process.
//
// What was made with values of a cluster does not belong here (decisions.md 8).
// A write that fails costs a render after the next restart, no more.

#ifndef FLOTILLA_MANAGER_RENDER_RENDER_CACHE_H_
#define FLOTILLA_MANAGER_RENDER_RENDER_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "flotilla/core/v1/core.pb.h"
#include "flotilla/storage/v1/render_cache.pb.h"
#include "manager/render/manifest_builder.h"
#include "manager/render/render_input.h"
#include "manager/store/store.h"

namespace flotilla::manager {

// What a render came to.
struct RenderResult {
  std::string manifest_digest;
  uint64_t manifest_size = 0;
  std::vector<std::string> blob_digests;
  std::vector<core::v1::Problem> problems;
  std::vector<core::v1::Problem> warnings;
  // What it depends on besides revision and options.
  std::vector<GroupKind> kinds_asked;
  bool uses_capabilities = false;
  std::string facts_digest;
  // Empty when no random function was called.
  std::string random_seed;
  // Whether it depends on the commit's time, and that time.
  bool uses_now = false;
  int64_t now_unix_seconds = 0;
  // To be tried again; not to be cached.
  bool transient = false;
  // Whether it would be the same at any time: what the machine's limits had a
  // part in is shared, and not kept over a restart.
  bool lasting = true;
  // When its blobs were last known to be there, on the loop's clock.
  absl::Duration verified_at = -absl::InfiniteDuration();
};
using RenderResultPtr = std::shared_ptr<RenderResult>;

struct RenderCacheOptions {
  // Which programs render (RendererVersion): results of another are dropped.
  std::string renderer;
  size_t max_results = 10'000;
  size_t max_bytes = 64 << 20;
};

// Loop-affine.
class RenderCache {
 public:
  // `store` must outlive it. `writer` writes kRenderCacheFamily.
  RenderCache(Store& store, FamilyWriter writer, RenderCacheOptions options,
              absl::AnyInvocable<void()> on_loaded);
  RenderCache(const RenderCache&) = delete;
  RenderCache& operator=(const RenderCache&) = delete;

  // `inputs` says which revision and options. REQUIRES, for both: loaded().
  void Add(const std::string& inputs, RenderResultPtr result);
  void Remove(const std::string& inputs, const RenderResultPtr& result);

  // A result that holds for `input` too, or null.
  RenderResultPtr Find(const std::string& inputs, const RenderInput& input);
  bool loaded() const { return loaded_; }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string key;
    std::string inputs_digest;
    RenderResultPtr result;
    size_t bytes = 0;
    // Whether its place in the order is on disk as well.
    bool written = false;
  };
  // Most recently used first.
  using Entries = std::list<Entry>;

  void Load(const WatchBatch& batch);
  // Returns the keys of what had to go.
  std::vector<Op> Insert(Entry entry);
  void Erase(Entries::iterator entry);
  void Write(Entry& entry, std::vector<Op> deletes);

  // Constant after construction.
  const RenderCacheOptions options_;

  // Loop state.
  FamilyWriter writer_;
  absl::AnyInvocable<void()> on_loaded_;
  bool loaded_ = false;
  Entries entries_;
  size_t bytes_ = 0;
  // By inputs_digest.
  absl::flat_hash_map<std::string, std::vector<Entries::iterator>> by_inputs_;
  // Declared last: destroyed first.
  std::unique_ptr<WatchHandle> watch_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_RENDER_RENDER_CACHE_H_
