// SPDX-License-Identifier: Apache-2.0

#include "manager/admin/resource_index.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "manager/admin/status_text.h"

namespace flotilla::manager {

using core::v1::ResourceStatus;
using nlohmann::json;

struct ResourceIndex::Stretch {
  // Of the object in the list that is shown.
  size_t object = 0;
  Word word = Word::kReady;
};

bool ResourceIndex::ByIdentity::operator()(const ObjectName& a,
                                           const ObjectName& b) const {
  return std::tie(a.type, a.id, a.group, a.kind) <
         std::tie(b.type, b.id, b.group, b.kind);
}

bool ResourceIndex::ByName::operator()(const ObjectName& a,
                                       const ObjectName& b) const {
  return std::tie(a.type, a.id, a.group, a.kind, a.version) <
         std::tie(b.type, b.id, b.group, b.kind, b.version);
}

bool ResourceIndex::Member::operator<(const Member& other) const {
  if (word != other.word) return word < other.word;
  if (entry == other.entry) return false;
  // Null is before all.
  if (entry == nullptr || other.entry == nullptr) return entry == nullptr;
  const DeploymentName& a = entry->name;
  const DeploymentName& b = other.entry->name;
  return std::tie(a.cluster_workspace, a.cluster, a.workspace, a.bundle,
                  a.bundle_id, a.cluster_id) <
         std::tie(b.cluster_workspace, b.cluster, b.workspace, b.bundle,
                  b.bundle_id, b.cluster_id);
}

ResourceIndex::Word ResourceIndex::WordOf(const ResourceStatus& status) {
  switch (status.sync()) {
    case core::v1::SYNC_STATE_ERROR:
    case core::v1::SYNC_STATE_CONFLICT:
      return Word::kError;
    case core::v1::SYNC_STATE_MISSING:
      return Word::kMissing;
    case core::v1::SYNC_STATE_DRIFTED:
      return Word::kModified;
    case core::v1::SYNC_STATE_PRUNING:
      return Word::kOrphaned;
    case core::v1::SYNC_STATE_SYNCED:
      break;
    default:
      return Word::kWaitApplied;
  }
  switch (status.health()) {
    case core::v1::HEALTH_HEALTHY:
    case core::v1::HEALTH_SUSPENDED:
    case core::v1::HEALTH_NOT_TRACKABLE:
      return Word::kReady;
    case core::v1::HEALTH_DEGRADED:
      return Word::kError;
    case core::v1::HEALTH_MISSING:
      return Word::kMissing;
    case core::v1::HEALTH_PROGRESSING:
      return Word::kNotReady;
    default:
      return Word::kUnknown;
  }
}

// An object may be as an older generation wants it.
ResourceIndex::Word ResourceIndex::ShownAs(FoldedState state, Word said) {
  switch (state) {
    case FoldedState::kReady:
    case FoldedState::kNotReady:
    case FoldedState::kModified:
      return said;
    case FoldedState::kOffline:
      return Word::kUnknown;
    case FoldedState::kErrApplied:
    case FoldedState::kWaitApplied:
      return said == Word::kReady ? Word::kWaitApplied : said;
    case FoldedState::kOutOfSync:
    case FoldedState::kPending:
    case FoldedState::kDeleting:
      return said == Word::kReady ? Word::kPending : said;
  }
  return Word::kUnknown;
}

const char* ResourceIndex::StateText(Word word) {
  switch (word) {
    case Word::kError:
    case Word::kNotReady:
      return "NotReady";
    case Word::kMissing:
      return "Missing";
    case Word::kModified:
      return "Modified";
    case Word::kOrphaned:
      return "Orphaned";
    case Word::kUnknown:
      return "Unknown";
    case Word::kWaitApplied:
      return "WaitApplied";
    case Word::kPending:
      return "Pending";
    case Word::kReady:
      return "Ready";
  }
  return "Unknown";
}

const char* ResourceIndex::ListKey(Word word) {
  switch (word) {
    case Word::kError:
    case Word::kNotReady:
      return "notReady";
    case Word::kMissing:
      return "missing";
    case Word::kModified:
      return "modified";
    case Word::kOrphaned:
      return "orphaned";
    case Word::kUnknown:
      return "unknown";
    case Word::kWaitApplied:
      return "waitApplied";
    case Word::kPending:
      return "pending";
    case Word::kReady:
      return "ready";
  }
  return "unknown";
}

ResourceIndex::ObjectName ResourceIndex::NameOf(
    const core::v1::ResourceKey& key) {
  ObjectName name;
  const std::string kind = absl::AsciiStrToLower(key.kind());
  name.type = key.group().empty()
                  ? kind
                  : absl::StrCat(key.group().substr(0, key.group().find('.')),
                                 ".", kind);
  name.id = key.namespace_().empty()
                ? key.name()
                : absl::StrCat(key.namespace_(), "/", key.name());
  name.group = key.group();
  name.kind = key.kind();
  name.ns = key.namespace_();
  name.name = key.name();
  name.version = key.version();
  return name;
}

const ResourceIndex::ObjectName* ResourceIndex::Intern(ObjectName name) {
  const auto at = names_.try_emplace(std::move(name), 0).first;
  ++at->second;
  return &at->first;
}

void ResourceIndex::Release(const ObjectName* object) {
  const auto at = names_.find(*object);
  if (--at->second == 0) names_.erase(at);
}

void ResourceIndex::Show(Deployment& deployment, Row& row) {
  if (deployment.entry == nullptr) return;
  row.shown = ShownAs(deployment.entry->state, row.said);
  sources_[deployment.source][row.object].insert(
      {row.shown, deployment.entry});
}

void ResourceIndex::Hide(const Deployment& deployment, const Row& row) {
  if (deployment.entry == nullptr) return;
  const auto source = sources_.find(deployment.source);
  const auto object = source->second.find(row.object);
  object->second.erase({row.shown, deployment.entry});
  if (!object->second.empty()) return;
  source->second.erase(object);
  if (source->second.empty()) sources_.erase(source);
}

void ResourceIndex::DropRow(Deployment& deployment, size_t i) {
  Row& row = deployment.rows[i];
  Hide(deployment, row);
  Release(row.object);
  deployment.rows.erase(deployment.rows.begin() +
                        static_cast<std::ptrdiff_t>(i));
}

void ResourceIndex::Report(const std::string& cluster_id,
                           const ResourceStatus& status) {
  const DeploymentKey key(cluster_id, status.bundle_id());
  auto found = deployments_.find(key);
  if (found == deployments_.end()) {
    if (status.removed()) return;
    found = deployments_.emplace(key, std::make_unique<Deployment>()).first;
  }
  Deployment& deployment = *found->second;
  ObjectName name = NameOf(status.key());
  const auto at = std::lower_bound(
      deployment.rows.begin(), deployment.rows.end(), name,
      [](const Row& row, const ObjectName& wanted) {
        return ByIdentity()(*row.object, wanted);
      });
  const size_t i = static_cast<size_t>(at - deployment.rows.begin());
  const bool present =
      at != deployment.rows.end() && !ByIdentity()(name, *at->object);
  if (present) DropRow(deployment, i);
  if (!status.removed()) {
    Row row;
    row.object = Intern(std::move(name));
    row.said = WordOf(status);
    if (row.said != Word::kReady && !status.message().empty()) {
      row.message = std::make_unique<std::string>(
          BoundedText(status.message(), kMaxMessage));
    }
    Show(deployment, row);
    deployment.rows.insert(
        deployment.rows.begin() + static_cast<std::ptrdiff_t>(i),
        std::move(row));
    if (deployment.rows.size() > kMaxObjects) {
      deployment.truncated = true;
      DropRow(deployment, kMaxObjects);
    }
  }
  if (deployment.rows.empty() && deployment.entry == nullptr) {
    deployments_.erase(found);
  }
}

void ResourceIndex::Forget(const std::string& cluster_id,
                           const std::string& bundle_id) {
  const auto found = deployments_.find({cluster_id, bundle_id});
  if (found == deployments_.end()) return;
  Deployment& deployment = *found->second;
  while (!deployment.rows.empty()) {
    DropRow(deployment, deployment.rows.size() - 1);
  }
  deployment.truncated = false;
  if (deployment.entry == nullptr) deployments_.erase(found);
}

void ResourceIndex::Place(const DeploymentEntry& entry,
                          const std::string& source) {
  std::unique_ptr<Deployment>& deployment =
      deployments_[{entry.name.cluster_id, entry.name.bundle_id}];
  if (deployment == nullptr) deployment = std::make_unique<Deployment>();
  deployment->entry = &entry;
  deployment->source = source;
  for (Row& row : deployment->rows) Show(*deployment, row);
}

void ResourceIndex::Displace(const DeploymentEntry& entry) {
  const auto found =
      deployments_.find({entry.name.cluster_id, entry.name.bundle_id});
  if (found == deployments_.end() || found->second->entry != &entry) return;
  Deployment& deployment = *found->second;
  for (const Row& row : deployment.rows) Hide(deployment, row);
  deployment.entry = nullptr;
  if (deployment.rows.empty()) deployments_.erase(found);
}

std::vector<std::string> ResourceIndex::Unfinished(const DeploymentName& name,
                                                   size_t limit) const {
  std::vector<std::string> out;
  const auto found = deployments_.find({name.cluster_id, name.bundle_id});
  if (found == deployments_.end()) return out;
  for (const Row& row : found->second->rows) {
    if (out.size() == limit) break;
    if (row.said != Word::kNotReady && row.said != Word::kUnknown) continue;
    const ObjectName& object = *row.object;
    out.push_back(absl::StrCat(
        absl::AsciiStrToLower(object.kind), object.group.empty() ? "" : ".",
        object.group, " ", object.id, ": ",
        row.message != nullptr          ? *row.message
        : row.said == Word::kNotReady ? "in progress"
                                        : "its state is not known"));
  }
  return out;
}

json ResourceIndex::Head(const ObjectName& object,
                         const Members& members) const {
  const Member& worst = *members.begin();
  json out = {{"apiVersion", object.group.empty()
                                 ? object.version
                                 : absl::StrCat(object.group, "/",
                                                object.version)},
              {"kind", object.kind},
              {"type", object.type},
              {"id", object.id},
              {"name", object.name},
              {"state", StateText(worst.word)}};
  if (!object.ns.empty()) out["namespace"] = object.ns;
  if (worst.word == Word::kError) out["error"] = true;
  if (worst.word == Word::kNotReady || worst.word == Word::kWaitApplied) {
    out["transitioning"] = true;
  }
  const DeploymentName& name = worst.entry->name;
  const Deployment& deployment =
      *deployments_.at({name.cluster_id, name.bundle_id});
  if (deployment.truncated) out["incompleteState"] = true;
  const auto row = std::lower_bound(
      deployment.rows.begin(), deployment.rows.end(), object,
      [](const Row& at, const ObjectName& wanted) {
        return ByIdentity()(*at.object, wanted);
      });
  if (row->message != nullptr && row->said == worst.word) {
    out["message"] = *row->message;
  }
  return out;
}

ResourceList ResourceIndex::Resources(const std::string& source,
                                      size_t budget) const {
  ResourceList list;
  const auto found = sources_.find(source);
  if (found == sources_.end()) return list;
  list.all = found->second.size();
  std::vector<const Objects::value_type*> objects;
  objects.reserve(found->second.size());
  for (const auto& object : found->second) objects.push_back(&object);
  // Stable: by name where equal.
  std::stable_sort(objects.begin(), objects.end(),
                   [](const auto* a, const auto* b) {
                     return a->second.begin()->word < b->second.begin()->word;
                   });

  // Half is for the objects themselves, what is left for names of clusters.
  size_t used = 0;
  std::vector<json> heads;
  for (const auto* object : objects) {
    json head = Head(*object->first, object->second);
    const size_t size = JsonSize(head) + sizeof(R"(,"incompleteState":true)");
    if (used + size > budget / 2) break;
    used += size;
    heads.push_back(std::move(head));
  }
  objects.resize(heads.size());

  std::vector<Stretch> stretches;
  for (const bool ready : {false, true}) {
    for (size_t i = 0; i < objects.size(); ++i) {
      for (size_t w = 0; w <= static_cast<size_t>(Word::kReady); ++w) {
        const Word word = static_cast<Word>(w);
        const auto at = objects[i]->second.lower_bound({word, nullptr});
        if ((word == Word::kReady) == ready &&
            at != objects[i]->second.end() && at->word == word) {
          stretches.push_back({i, word});
        }
      }
    }
  }
  const auto ready_begin = std::find_if(
      stretches.begin(), stretches.end(),
      [](const Stretch& s) { return s.word == Word::kReady; });
  for (auto at = stretches.begin(); at != stretches.end(); ++at) {
    // Those that are ready get what others leave.
    const auto rivals = (at < ready_begin ? ready_begin : stretches.end()) - at;
    size_t quota = (budget - std::min(budget, used)) /
                   static_cast<size_t>(rivals);
    json& head = heads[at->object];
    const char* key = ListKey(at->word);
    const size_t frame = sizeof(R"("perClusterState":{},"":[],)") +
                         std::char_traits<char>::length(key);
    const Members& members = objects[at->object]->second;
    bool cut = quota < frame;
    if (!cut) {
      quota -= frame;
      used += frame;
      json& names = head["perClusterState"][key];
      if (names.is_null()) names = json::array();
      for (auto member = members.lower_bound({at->word, nullptr});
           member != members.end() && member->word == at->word; ++member) {
        std::string text = ClusterText(member->entry->name);
        if (!names.empty() && names.back() == text) continue;
        const size_t size = text.size() + 3;
        if (size > quota) {
          cut = true;
          break;
        }
        quota -= size;
        used += size;
        names.push_back(std::move(text));
      }
    }
    if (cut) head["incompleteState"] = true;
  }

  std::vector<std::pair<const ObjectName*, size_t>> order;
  for (size_t i = 0; i < objects.size(); ++i) {
    order.emplace_back(objects[i]->first, i);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return ByName()(*a.first, *b.first);
  });
  for (const auto& [object, i] : order) {
    list.shown.push_back(std::move(heads[i]));
  }
  return list;
}

}  // namespace flotilla::manager
