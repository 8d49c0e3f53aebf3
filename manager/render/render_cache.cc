// SPDX-License-Identifier: Apache-2.0

#include "manager/render/render_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/crypto/sha256.h"
#include "common/log/log.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

using storage::v1::CachedRender;

// Of an entry besides its record.
constexpr size_t kEntryBytes = 400;
// Bounds the size of one transaction.
constexpr size_t kDeletesAtOnce = 500;

std::string KeyOf(absl::string_view inputs_digest, const RenderResult& result) {
  const std::string others = absl::StrCat(
      result.facts_digest.size(), "/", result.facts_digest,
      result.random_seed.size(), "/", result.random_seed,
      result.uses_now ? result.now_unix_seconds : int64_t{-1});
  return RenderCacheKey(absl::BytesToHexString(inputs_digest),
                        absl::BytesToHexString(Sha256(others)));
}

CachedRender ToRecord(const std::string& renderer,
                      const std::string& inputs_digest,
                      const RenderResult& result) {
  CachedRender record;
  record.set_renderer(renderer);
  record.set_inputs_digest(inputs_digest);
  for (const auto& [group, kind] : result.kinds_asked) {
    storage::v1::CachedKind* asked = record.add_kinds_asked();
    asked->set_group(group);
    asked->set_kind(kind);
  }
  record.set_uses_capabilities(result.uses_capabilities);
  record.set_facts_digest(result.facts_digest);
  record.set_random_seed(result.random_seed);
  record.set_uses_now(result.uses_now);
  record.set_now_unix_seconds(result.now_unix_seconds);
  record.set_manifest_digest(result.manifest_digest);
  record.set_manifest_size(result.manifest_size);
  for (const std::string& digest : result.blob_digests) {
    record.add_blob_digests(digest);
  }
  record.mutable_problems()->Assign(result.problems.begin(),
                                    result.problems.end());
  record.mutable_warnings()->Assign(result.warnings.begin(),
                                    result.warnings.end());
  return record;
}

RenderResultPtr FromRecord(const CachedRender& record) {
  auto result = std::make_shared<RenderResult>();
  for (const storage::v1::CachedKind& asked : record.kinds_asked()) {
    result->kinds_asked.emplace_back(asked.group(), asked.kind());
  }
  result->uses_capabilities = record.uses_capabilities();
  result->facts_digest = record.facts_digest();
  result->random_seed = record.random_seed();
  result->uses_now = record.uses_now();
  result->now_unix_seconds = record.now_unix_seconds();
  result->manifest_digest = record.manifest_digest();
  result->manifest_size = record.manifest_size();
  result->blob_digests.assign(record.blob_digests().begin(),
                              record.blob_digests().end());
  result->problems.assign(record.problems().begin(), record.problems().end());
  result->warnings.assign(record.warnings().begin(), record.warnings().end());
  return result;
}

bool HoldsFor(const RenderResult& result, const RenderInput& input) {
  if (!result.random_seed.empty() && result.random_seed != input.random_seed) {
    return false;
  }
  if (result.uses_now && result.now_unix_seconds != input.now_unix_seconds) {
    return false;
  }
  // Problems of the plan depend on no facts.
  return result.facts_digest.empty() ||
         result.facts_digest == FactsDigest(input.facts, result.kinds_asked,
                                            result.uses_capabilities);
}

void LogFailure(const absl::Status& status) {
  if (status.ok()) return;
  FLOTILLA_LOG_EVERY(WARNING, absl::Seconds(10))
      << "keeping results of renders for the next start: " << status.message();
}

}  // namespace

RenderCache::RenderCache(Store& store, FamilyWriter writer,
                         RenderCacheOptions options,
                         absl::AnyInvocable<void()> on_loaded)
    : options_(std::move(options)), writer_(std::move(writer)),
      on_loaded_(std::move(on_loaded)),
      watch_(store.RangeAndWatch(
          kRenderCacheFamily,
          // Later batches are our own writes.
          [this](const WatchBatch& batch) {
            if (!loaded_) Load(batch);
          })) {}

void RenderCache::Load(const WatchBatch& batch) {
  std::vector<const KeyValue*> kvs;
  for (const WatchEvent& event : batch.events) kvs.push_back(&event.kv);
  std::sort(kvs.begin(), kvs.end(), [](const KeyValue* a, const KeyValue* b) {
    return a->mod_revision < b->mod_revision;
  });
  std::vector<Op> deletes;
  for (const KeyValue* kv : kvs) {
    const auto record = ParseRecord<CachedRender>(kv->key, kv->value);
    if (!record.ok() || record->renderer() != options_.renderer) {
      deletes.push_back(Op::Delete(kv->key));
      continue;
    }
    Entry entry;
    entry.key = kv->key;
    entry.inputs_digest = record->inputs_digest();
    entry.result = FromRecord(*record);
    entry.bytes = kv->value.size() + kEntryBytes;
    for (Op& op : Insert(std::move(entry))) deletes.push_back(std::move(op));
  }
  for (size_t i = 0; i < deletes.size(); i += kDeletesAtOnce) {
    const size_t end = std::min(deletes.size(), i + kDeletesAtOnce);
    writer_.Txn({},
                std::vector<Op>(deletes.begin() + static_cast<int64_t>(i),
                                deletes.begin() + static_cast<int64_t>(end)),
                [](const absl::StatusOr<int64_t>& revision) {
                  LogFailure(revision.status());
                });
  }
  loaded_ = true;
  on_loaded_();
}

void RenderCache::Add(const std::string& inputs, RenderResultPtr result) {
  Entry entry;
  entry.inputs_digest = Sha256(inputs);
  entry.key = KeyOf(entry.inputs_digest, *result);
  const auto known = by_inputs_.find(entry.inputs_digest);
  if (known != by_inputs_.end()) {
    for (const Entries::iterator& other : known->second) {
      if (other->result == result) return;
      if (other->key != entry.key) continue;
      Erase(other);
      break;
    }
  }
  entry.result = std::move(result);
  entry.bytes = ToRecord(options_.renderer, entry.inputs_digest, *entry.result)
                    .ByteSizeLong() +
                kEntryBytes;
  std::vector<Op> deletes = Insert(std::move(entry));
  Write(entries_.front(), std::move(deletes));
}

void RenderCache::Remove(const std::string& inputs,
                         const RenderResultPtr& result) {
  const auto known = by_inputs_.find(Sha256(inputs));
  if (known == by_inputs_.end()) return;
  for (const Entries::iterator& entry : known->second) {
    if (entry->result != result) continue;
    writer_.Txn({}, {Op::Delete(entry->key)},
                [](const absl::StatusOr<int64_t>& revision) {
                  LogFailure(revision.status());
                });
    Erase(entry);
    return;
  }
}

RenderResultPtr RenderCache::Find(const std::string& inputs,
                                  const RenderInput& input) {
  const auto known = by_inputs_.find(Sha256(inputs));
  if (known == by_inputs_.end()) return nullptr;
  for (const Entries::iterator& entry : known->second) {
    if (!HoldsFor(*entry->result, input)) continue;
    entries_.splice(entries_.begin(), entries_, entry);
    if (!entry->written) Write(*entry, {});
    return entry->result;
  }
  return nullptr;
}

std::vector<Op> RenderCache::Insert(Entry entry) {
  bytes_ += entry.bytes;
  entries_.push_front(std::move(entry));
  by_inputs_[entries_.front().inputs_digest].push_back(entries_.begin());
  std::vector<Op> deletes;
  // The newest one stays, whatever its size.
  while (entries_.size() > 1 && (entries_.size() > options_.max_results ||
                                 bytes_ > options_.max_bytes)) {
    deletes.push_back(Op::Delete(entries_.back().key));
    Erase(std::prev(entries_.end()));
  }
  return deletes;
}

void RenderCache::Erase(Entries::iterator entry) {
  const auto known = by_inputs_.find(entry->inputs_digest);
  auto& same = known->second;
  same.erase(std::find(same.begin(), same.end(), entry));
  if (same.empty()) by_inputs_.erase(known);
  bytes_ -= entry->bytes;
  entries_.erase(entry);
}

void RenderCache::Write(Entry& entry, std::vector<Op> deletes) {
  std::string bytes = SerializeRecord(
      ToRecord(options_.renderer, entry.inputs_digest, *entry.result));
  entry.written = true;
  std::vector<Op> ops = std::move(deletes);
  // In place of one that lasted: that does not hold any more.
  ops.push_back(entry.result->lasting
                    ? Op::Put(entry.key, std::move(bytes))
                    : Op::Delete(entry.key));
  writer_.Txn({}, std::move(ops),
              [](const absl::StatusOr<int64_t>& revision) {
                LogFailure(revision.status());
              });
}

}  // namespace flotilla::manager
