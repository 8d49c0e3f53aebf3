// SPDX-License-Identifier: Apache-2.0

#include "manager/stream/session_records.h"

#include <utility>

#include "google/protobuf/timestamp.pb.h"
#include "manager/store/records.h"

namespace flotilla::manager {
namespace {

void SetTime(google::protobuf::Timestamp& out, absl::Time time) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out.set_seconds(seconds);
  out.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

absl::Time GetTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

void TakeObserved(const KeyValue& kv, StoredSession& stored) {
  auto observed = ParseRecord<storage::v1::Observed>(kv.key, kv.value);
  const auto key = ParseClusterBundleKey(kObservedFamily, kv.key);
  if (!observed.ok() || !key.ok()) return;
  observed->mutable_state()->set_bundle_id(key->bundle_id);
  stored.states.push_back(std::move(*observed->mutable_state()));
}

void TakeFacts(const KeyValue& kv, StoredSession& stored) {
  const auto facts = ParseRecord<storage::v1::Facts>(kv.key, kv.value);
  if (facts.ok()) stored.facts_digest = facts->digest();
}

void TakeHighWater(const KeyValue& kv, StoredSession& stored) {
  const auto high = ParseRecord<storage::v1::HighWater>(kv.key, kv.value);
  if (high.ok()) stored.acked_av = high->acked_av();
}

}  // namespace

struct SessionRecords::Reading {
  StoredSession stored;
  absl::Status status;
  int waiting = 0;
  Read done;
};

SessionRecords::SessionRecords(Store& store, FamilyWriter& session_writer,
                               FamilyWriter& facts_writer,
                               FamilyWriter& highwater_writer)
    : store_(store),
      session_writer_(session_writer),
      facts_writer_(facts_writer),
      highwater_writer_(highwater_writer),
      sessions_(store, kSessionFamily) {}

void SessionRecords::Begin(const std::string& cluster_id,
                           const agent::v1::Hello& hello, absl::Time now,
                           Begun done) {
  const std::string key = SessionKey(cluster_id);
  const storage::v1::SessionRecord* last = sessions_.Find(key);
  storage::v1::SessionRecord record;
  record.set_epoch((last == nullptr ? 0 : last->epoch()) + 1);
  record.set_boot_id(hello.boot_id());
  record.set_instance_id(hello.instance_id());
  record.set_agent_version(hello.agent_version());
  SetTime(*record.mutable_start_time(), now);
  session_writer_.Txn(
      {{key, sessions_.ModRevision(key)}},
      {Op::Put(key, SerializeRecord(record))},
      [epoch = record.epoch(),
       done = std::move(done)](absl::StatusOr<int64_t> written) mutable {
        if (written.ok()) {
          done(epoch);
        } else {
          done(written.status());
        }
      });
}

void SessionRecords::End(const std::string& cluster_id, uint64_t epoch,
                         absl::Time now) {
  const std::string key = SessionKey(cluster_id);
  const storage::v1::SessionRecord* last = sessions_.Find(key);
  if (last == nullptr || last->epoch() != epoch) return;
  storage::v1::SessionRecord record = *last;
  SetTime(*record.mutable_end_time(), now);
  session_writer_.Txn({{key, sessions_.ModRevision(key)}},
                      {Op::Put(key, SerializeRecord(record))},
                      [](absl::StatusOr<int64_t>) {});
}

void SessionRecords::PutFacts(const std::string& cluster_id, NewFacts facts,
                              Written done) {
  storage::v1::Facts record;
  *record.mutable_facts() = std::move(facts.facts);
  record.set_digest(std::move(facts.digest));
  facts_writer_.Txn(
      {}, {Op::Put(FactsKey(cluster_id), SerializeRecord(record))},
      [done = std::move(done)](absl::StatusOr<int64_t> written) mutable {
        done(written.status());
      });
}

void SessionRecords::PutHighWater(const std::string& cluster_id,
                                  uint64_t acked_av, Written done) {
  storage::v1::HighWater record;
  record.set_acked_av(acked_av);
  highwater_writer_.Txn(
      {}, {Op::Put(HighWaterKey(cluster_id), SerializeRecord(record))},
      [done = std::move(done)](absl::StatusOr<int64_t> written) mutable {
        done(written.status());
      });
}

void SessionRecords::ReadStored(const std::string& cluster_id, Read done) {
  auto reading = std::make_shared<Reading>();
  reading->waiting = 3;
  reading->done = std::move(done);
  ReadKey(reading, ObservedPrefix(cluster_id), &TakeObserved);
  ReadKey(reading, FactsKey(cluster_id), &TakeFacts);
  ReadKey(reading, HighWaterKey(cluster_id), &TakeHighWater);
}

void SessionRecords::ReadKey(const std::shared_ptr<Reading>& reading,
                             const std::string& prefix,
                             void (*take)(const KeyValue& kv,
                                          StoredSession& stored)) {
  store_.Range(prefix, [reading, take](absl::StatusOr<RangeResult> range) {
    reading->status.Update(range.status());
    if (range.ok()) {
      for (const KeyValue& kv : range->kvs) take(kv, reading->stored);
    }
    if (--reading->waiting > 0) return;
    if (reading->status.ok()) {
      reading->done(std::move(reading->stored));
    } else {
      reading->done(reading->status);
    }
  });
}

ClusterPresence SessionRecords::Last(const std::string& cluster_id) const {
  ClusterPresence presence;
  const storage::v1::SessionRecord* record =
      sessions_.Find(SessionKey(cluster_id));
  if (record == nullptr) return presence;
  presence.epoch = record->epoch();
  presence.agent_version = record->agent_version();
  presence.last_seen = GetTime(record->has_end_time() ? record->end_time()
                                                      : record->start_time());
  return presence;
}

}  // namespace flotilla::manager
