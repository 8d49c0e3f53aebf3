// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/values_desk.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/assignment/values_digest.h"
#include "common/log/log.h"
#include "flotilla/core/v1/core.pb.h"
#include "manager/render/effective_values.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

bool IsTooMuch(const ValuesAsk& ask) {
  return ask.refs.size() > ValuesExchange::kMaxRefs;
}

// The keys of a complete batch say which others are gone.
template <typename Map, typename OnGone>
void DropOthers(const Map& map, const std::set<typename Map::key_type>& present,
                OnGone on_gone) {
  std::vector<typename Map::key_type> gone;
  for (const auto& [id, value] : map) {
    if (present.count(id) == 0) gone.push_back(id);
  }
  for (const auto& id : gone) on_gone(id);
}

storage::v1::ClusterValues RecordOf(const agent::v1::ValuesReport& report) {
  storage::v1::ClusterValues record;
  *record.mutable_refs() = report.refs();
  record.set_service_account(report.service_account());
  *record.mutable_contents() = report.contents();
  if (report.has_problem()) {
    record.mutable_problem()->set_code(report.problem().code());
    record.mutable_problem()->set_message(report.problem().message());
  }
  record.set_digest(report.digest());
  return record;
}

}  // namespace

ValuesDesk::ValuesDesk(Store& store, FamilyWriter& writer, OnAsk on_ask)
    : writer_(writer),
      on_ask_(std::move(on_ask)),
      desired_watch_(store.RangeAndWatch(
          kDesiredFamily,
          [this](const WatchBatch& batch) { OnDesired(batch); })),
      values_watch_(store.RangeAndWatch(
          kValuesFamily,
          [this](const WatchBatch& batch) { OnValues(batch); })) {}

void ValuesDesk::OnDesired(const WatchBatch& batch) {
  std::set<Id> present;
  for (const WatchEvent& event : batch.events) {
    const auto key = ParseClusterBundleKey(kDesiredFamily, event.kv.key);
    if (!key.ok()) continue;
    const Id id(key->cluster_id, key->bundle_id);
    if (event.deleted) {
      SetAsk(id, nullptr);
      continue;
    }
    present.insert(id);
    const auto desired =
        ParseRecord<storage::v1::Desired>(event.kv.key, event.kv.value);
    // One that cannot be read says nothing.
    if (desired.ok()) SetAsk(id, &*desired);
  }
  if (batch.complete) {
    DropOthers(asks_, present, [this](const Id& id) { SetAsk(id, nullptr); });
  }
  if (asks_loaded_) return;
  asks_loaded_ = true;
  const auto digests = digests_;
  for (const auto& [id, digest] : digests) Tidy(id);
}

void ValuesDesk::OnValues(const WatchBatch& batch) {
  std::set<Id> present;
  for (const WatchEvent& event : batch.events) {
    const auto key = ParseClusterBundleKey(kValuesFamily, event.kv.key);
    if (!key.ok()) continue;
    const Id id(key->cluster_id, key->bundle_id);
    if (event.deleted) {
      digests_.erase(id);
      continue;
    }
    present.insert(id);
    const auto values =
        ParseRecord<storage::v1::ClusterValues>(event.kv.key, event.kv.value);
    // One that cannot be read is asked for again.
    digests_[id] = values.ok() ? values->digest() : std::string();
    Tidy(id);
  }
  if (batch.complete) {
    DropOthers(digests_, present, [this](const Id& id) { digests_.erase(id); });
  }
  digests_loaded_ = true;
}

void ValuesDesk::SetAsk(const Id& id, const storage::v1::Desired* desired) {
  ValuesAsk ask;
  if (desired != nullptr &&
      desired->removal() == core::v1::DELETE_CAUSE_UNSPECIFIED) {
    ask.refs = AskedValues(desired->options());
    ask.service_account = desired->options().service_account();
  }
  const auto known = asks_.find(id);
  if (ask.refs.empty()) {
    if (known != asks_.end()) {
      asks_.erase(known);
      if (loaded()) on_ask_(id.first, id.second);
    }
    Tidy(id);
    return;
  }
  if (known != asks_.end() && known->second == ask) return;
  asks_[id] = ask;
  if (loaded()) on_ask_(id.first, id.second);
  if (!IsTooMuch(ask)) return;
  // No agent is asked for so much.
  agent::v1::ValuesReport answer;
  answer.set_bundle_id(id.second);
  for (core::v1::ValuesRef& ref : ask.refs) *answer.add_refs() = std::move(ref);
  answer.set_service_account(ask.service_account);
  answer.mutable_problem()->set_code("RESOURCE_EXHAUSTED");
  answer.mutable_problem()->set_message(
      absl::StrCat("helm.valuesFrom has ", answer.refs_size(),
                   " entries; at most ", ValuesExchange::kMaxRefs,
                   " are read from a cluster"));
  answer.set_digest(ValuesDigest(answer));
  Take(id.first, answer, [](absl::Status) {});
}

void ValuesDesk::Tidy(const Id& id) {
  if (!asks_loaded_ || asks_.contains(id) || !digests_.contains(id)) return;
  writer_.Txn({}, {Op::Delete(ValuesKey(id.first, id.second))},
              [](const absl::StatusOr<int64_t>& deleted) {
                if (deleted.ok()) return;
                FLOTILLA_LOG(WARNING)
                    << "values that nobody needs cannot be deleted: "
                    << deleted.status();
              });
}

std::map<std::string, ValuesAsk> ValuesDesk::AsksOf(
    const std::string& cluster_id) const {
  std::map<std::string, ValuesAsk> found;
  for (auto it = asks_.lower_bound(Id(cluster_id, ""));
       it != asks_.end() && it->first.first == cluster_id; ++it) {
    if (!IsTooMuch(it->second)) found.emplace(it->first.second, it->second);
  }
  return found;
}

const ValuesAsk* ValuesDesk::Find(const std::string& cluster_id,
                                  const std::string& bundle_id) const {
  const auto found = asks_.find(Id(cluster_id, bundle_id));
  return found == asks_.end() || IsTooMuch(found->second) ? nullptr
                                                          : &found->second;
}

std::string ValuesDesk::KnownDigest(const std::string& cluster_id,
                                    const std::string& bundle_id) const {
  const auto found = digests_.find(Id(cluster_id, bundle_id));
  return found == digests_.end() ? std::string() : found->second;
}

bool ValuesDesk::Take(const std::string& cluster_id,
                      const agent::v1::ValuesReport& report, Done done) {
  if (KnownDigest(cluster_id, report.bundle_id()) == report.digest()) {
    return false;
  }
  writer_.Txn({},
              {Op::Put(ValuesKey(cluster_id, report.bundle_id()),
                       SerializeRecord(RecordOf(report)))},
              [done = std::move(done)](
                  const absl::StatusOr<int64_t>& written) mutable {
                done(written.status());
              });
  return true;
}

}  // namespace flotilla::manager
