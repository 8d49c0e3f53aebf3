// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_rules.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "agent/health/health_verdict.h"
#include "gmock/gmock.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

HealthContext Now() {
  HealthContext context;
  context.now = kNow;
  return context;
}

std::string Ago(absl::Duration age) {
  return absl::FormatTime(absl::RFC3339_full, kNow - age,
                          absl::UTCTimeZone());
}

struct Case {
  const char* what;
  const char* object;
  core::v1::Health health;
  const char* words;  // Part of the reason or the message.
};

constexpr char kReadyDeployment[] = R"({
  "apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"generation": 2}, "spec": {"replicas": 2},
  "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
    "readyReplicas": 2, "availableReplicas": 2, "conditions": [
    {"type": "Available", "status": "True"},
    {"type": "Progressing", "status": "True",
     "reason": "NewReplicaSetAvailable"}]}})";

// `change` is a merge patch over a Deployment that works.
json DeploymentWith(const char* change) {
  json object = json::parse(kReadyDeployment);
  object.merge_patch(json::parse(change));
  return object;
}

TEST(HealthRules, Deployment) {
  const Case kCases[] = {
      {"all there", "{}", core::v1::HEALTH_HEALTHY, ""},
      {"no observedGeneration", R"({"status": {"observedGeneration": null}})",
       core::v1::HEALTH_PROGRESSING, "LatestGenerationNotObserved"},
      {"old observedGeneration", R"({"status": {"observedGeneration": 1}})",
       core::v1::HEALTH_PROGRESSING, "LatestGenerationNotObserved"},
      {"observedGeneration is text", R"({"status":{"observedGeneration":"2"}})",
       core::v1::HEALTH_PROGRESSING, "LatestGenerationNotObserved"},
      {"no status", R"({"status": null})", core::v1::HEALTH_PROGRESSING, ""},
      {"paused", R"({"spec": {"paused": true}})", core::v1::HEALTH_SUSPENDED,
       "Paused"},
      {"not updated", R"({"status": {"updatedReplicas": 1}})",
       core::v1::HEALTH_PROGRESSING, "1 of 2 replicas are updated"},
      {"old pods", R"({"status": {"replicas": 3}})",
       core::v1::HEALTH_PROGRESSING, "1 old replicas"},
      {"not available", R"({"status": {"availableReplicas": 1}})",
       core::v1::HEALTH_PROGRESSING, "1 of 2 replicas are available"},
      {"scaled up just now", R"({"spec": {"replicas": 5}})",
       core::v1::HEALTH_PROGRESSING, "2 of 5"},
      {"quota", R"({"status": {"conditions": [{"type": "ReplicaFailure",
          "status": "True", "message": "exceeded quota"}]}})",
       core::v1::HEALTH_DEGRADED, "exceeded quota"},
      {"deadline", R"({"status": {"conditions": [{"type": "Progressing",
          "status": "False", "reason": "ProgressDeadlineExceeded"}]}})",
       core::v1::HEALTH_DEGRADED, "ProgressDeadlineExceeded"},
      {"not Available", R"({"status": {"conditions": []}})",
       core::v1::HEALTH_PROGRESSING, "NotAvailable"},
      {"being deleted", R"({"metadata": {"deletionTimestamp": "x"}})",
       core::v1::HEALTH_PROGRESSING, "Terminating"},
      {"conditions is a map", R"({"status": {"conditions": {"a": 1}}})",
       core::v1::HEALTH_PROGRESSING, "NotAvailable"},
      {"replicas is a list", R"({"status": {"replicas": [1], "updatedReplicas":
          {}, "availableReplicas": "2"}})",
       core::v1::HEALTH_PROGRESSING, ""},
  };
  for (const Case& c : kCases) {
    const HealthVerdict verdict = JudgeHealth(DeploymentWith(c.object), Now());
    EXPECT_EQ(verdict.health, c.health) << c.what << ": " << verdict.message;
    EXPECT_THAT(verdict.reason + " " + verdict.message, HasSubstr(c.words))
        << c.what;
  }
}

TEST(HealthRules, OtherKinds) {
  const Case kCases[] = {
      {"StatefulSet ready", R"({"apiVersion":"apps/v1","kind":"StatefulSet",
        "metadata":{"generation":1},"spec":{"replicas":1},"status":{
        "observedGeneration":1,"replicas":1,"readyReplicas":1,
        "currentRevision":"a","updateRevision":"a"}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"StatefulSet rolling", R"({"apiVersion":"apps/v1","kind":"StatefulSet",
        "metadata":{"generation":1},"spec":{"replicas":1},"status":{
        "observedGeneration":1,"replicas":1,"readyReplicas":1,
        "currentRevision":"a","updateRevision":"b"}})",
       core::v1::HEALTH_PROGRESSING, "updated"},
      {"DaemonSet without counts", R"({"apiVersion":"apps/v1",
        "kind":"DaemonSet","metadata":{"generation":1},
        "status":{"observedGeneration":1}})",
       core::v1::HEALTH_PROGRESSING, "scheduled"},
      {"DaemonSet OnDelete", R"({"apiVersion":"apps/v1","kind":"DaemonSet",
        "metadata":{"generation":1},"spec":{"updateStrategy":{
        "type":"OnDelete"}},"status":{"observedGeneration":1,
        "desiredNumberScheduled":1,"currentNumberScheduled":1,
        "updatedNumberScheduled":0,"numberAvailable":1,"numberReady":1}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"Job running", R"({"apiVersion":"batch/v1","kind":"Job",
        "metadata":{},"status":{"active":1,"startTime":"x"}})",
       core::v1::HEALTH_PROGRESSING, "1 active"},
      {"Job complete", R"({"apiVersion":"batch/v1","kind":"Job",
        "metadata":{},"status":{"conditions":[{"type":"Complete",
        "status":"True"}]}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"Job not complete", R"({"apiVersion":"batch/v1","kind":"Job",
        "metadata":{},"status":{"conditions":[{"type":"Complete",
        "status":"False"}]}})",
       core::v1::HEALTH_PROGRESSING, ""},
      {"Job failed", R"({"apiVersion":"batch/v1","kind":"Job","metadata":{},
        "status":{"conditions":[{"type":"Failed","status":"True",
        "message":"back-off limit"}]}})",
       core::v1::HEALTH_DEGRADED, "back-off limit"},
      {"CronJob suspended", R"({"apiVersion":"batch/v1","kind":"CronJob",
        "metadata":{},"spec":{"suspend":true}})",
       core::v1::HEALTH_SUSPENDED, ""},
      {"Pod ready", R"({"apiVersion":"v1","kind":"Pod","metadata":{},
        "status":{"phase":"Running","conditions":[{"type":"Ready",
        "status":"True"}]}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"Pod failed", R"({"apiVersion":"v1","kind":"Pod","metadata":{},
        "status":{"phase":"Failed","message":"evicted"}})",
       core::v1::HEALTH_DEGRADED, "evicted"},
      {"Pod pulls in vain", R"({"apiVersion":"v1","kind":"Pod","metadata":{},
        "status":{"phase":"Pending","containerStatuses":[7,{"name":"c",
        "state":{"waiting":{"reason":"ImagePullBackOff"}}}]}})",
       core::v1::HEALTH_DEGRADED, "ImagePullBackOff"},
      {"Pod's init container", R"({"apiVersion":"v1","kind":"Pod",
        "metadata":{},"status":{"phase":"Pending","initContainerStatuses":[
        {"name":"i","state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}})",
       core::v1::HEALTH_DEGRADED, "CrashLoopBackOff"},
      {"Service", R"({"apiVersion":"v1","kind":"Service","metadata":{},
        "spec":{"type":"ClusterIP"}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"Service waits for its address", R"({"apiVersion":"v1",
        "kind":"Service","metadata":{},"spec":{"type":"LoadBalancer"}})",
       core::v1::HEALTH_PROGRESSING, "address"},
      {"claim lost", R"({"apiVersion":"v1","kind":"PersistentVolumeClaim",
        "metadata":{},"status":{"phase":"Lost"}})",
       core::v1::HEALTH_DEGRADED, "lost"},
      {"CRD", R"({"apiVersion":"apiextensions.k8s.io/v1",
        "kind":"CustomResourceDefinition","metadata":{},"status":{
        "conditions":[{"type":"Established","status":"True"}]}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"CRD just made", R"({"apiVersion":"apiextensions.k8s.io/v1",
        "kind":"CustomResourceDefinition","metadata":{}})",
       core::v1::HEALTH_PROGRESSING, "established"},
      {"Namespace going", R"({"apiVersion":"v1","kind":"Namespace",
        "metadata":{},"status":{"phase":"Terminating"}})",
       core::v1::HEALTH_PROGRESSING, ""},
      {"ConfigMap", R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"custom, ready", R"({"apiVersion":"x.io/v1","kind":"Thing",
        "metadata":{},"status":{"conditions":[{"type":"Ready",
        "status":"True"}]}})",
       core::v1::HEALTH_HEALTHY, ""},
      {"custom, not ready", R"({"apiVersion":"x.io/v1","kind":"Thing",
        "metadata":{},"status":{"conditions":[{"type":"Ready",
        "status":"Unknown","message":"wait"}]}})",
       core::v1::HEALTH_PROGRESSING, "wait"},
      {"custom, stalled", R"({"apiVersion":"x.io/v1","kind":"Thing",
        "metadata":{},"status":{"conditions":[{"type":"Stalled",
        "status":"True","message":"no"}]}})",
       core::v1::HEALTH_DEGRADED, "no"},
      {"custom, silent", R"({"apiVersion":"x.io/v1","kind":"Thing",
        "metadata":{}})",
       core::v1::HEALTH_NOT_TRACKABLE, ""},
      {"no kind", R"({"metadata":{}})", core::v1::HEALTH_UNKNOWN, ""},
      {"a list", R"([1])", core::v1::HEALTH_UNKNOWN, ""},
      {"null", "null", core::v1::HEALTH_UNKNOWN, ""},
      {"metadata is null", R"({"kind":"Pod","metadata":null})",
       core::v1::HEALTH_UNKNOWN, ""},
  };
  for (const Case& c : kCases) {
    const HealthVerdict verdict = JudgeHealth(json::parse(c.object), Now());
    EXPECT_EQ(verdict.health, c.health) << c.what << ": " << verdict.message;
    EXPECT_THAT(verdict.reason + " " + verdict.message, HasSubstr(c.words))
        << c.what;
  }
}

// Status of a kind that its rule calls healthy, and what one field makes of it.
struct Change {
  const char* what;
  const char* patch;  // A merge patch over the object that works.
  core::v1::Health health;
  const char* words;
};

void Expect(const char* works, const std::vector<Change>& changes) {
  const json base = json::parse(works);
  const HealthVerdict fine = JudgeHealth(base, Now());
  EXPECT_EQ(fine.health, core::v1::HEALTH_HEALTHY)
      << base["kind"] << ": " << fine.reason << " " << fine.message;
  for (const Change& change : changes) {
    json object = base;
    object.merge_patch(json::parse(change.patch));
    const HealthVerdict verdict = JudgeHealth(object, Now());
    EXPECT_EQ(verdict.health, change.health)
        << base["kind"] << ", " << change.what << ": " << verdict.reason << " "
        << verdict.message;
    EXPECT_THAT(verdict.reason + " " + verdict.message,
                HasSubstr(change.words))
        << base["kind"] << ", " << change.what;
  }
}

constexpr auto kHealthy = core::v1::HEALTH_HEALTHY;
constexpr auto kProgressing = core::v1::HEALTH_PROGRESSING;
constexpr auto kDegraded = core::v1::HEALTH_DEGRADED;
constexpr auto kSuspended = core::v1::HEALTH_SUSPENDED;
constexpr auto kUnknown = core::v1::HEALTH_UNKNOWN;
constexpr auto kNotTrackable = core::v1::HEALTH_NOT_TRACKABLE;

TEST(HealthRules, DeploymentInDetail) {
  Expect(kReadyDeployment, {
      {"no replicas given", R"({"spec":{"replicas":null},"status":{
          "replicas":1,"updatedReplicas":1,"readyReplicas":1,
          "availableReplicas":1}})", kHealthy, ""},
      {"none wanted", R"({"spec":{"replicas":0},"status":{"replicas":null,
          "updatedReplicas":null,"readyReplicas":null,
          "availableReplicas":null}})", kHealthy, ""},
      {"without a deadline", R"({"status":{"conditions":[{"type":"Available",
          "status":"True"}]}})", kHealthy, ""},
      {"going on", R"({"status":{"conditions":[{"type":"Available",
          "status":"True"},{"type":"Progressing","status":"True",
          "reason":"ReplicaSetUpdated","message":"half way"}]}})",
       kProgressing, "half way"},
      {"more than wanted", R"({"spec":{"replicas":1}})", kProgressing,
       "2 replicas are still there, 1 wanted"},
      {"not ready", R"({"status":{"readyReplicas":1}})", kProgressing, ""},
      {"paused with a failure", R"({"spec":{"paused":true},"status":{
          "conditions":[{"type":"ReplicaFailure","status":"True"}]}})",
       kSuspended, "Paused"},
      {"replicas are text", R"({"spec":{"replicas":"2"}})", kProgressing, ""},
      {"replicas are text, one runs", R"({"spec":{"replicas":"5"},"status":{
          "replicas":1,"updatedReplicas":1,"readyReplicas":1,
          "availableReplicas":1}})", kUnknown, "spec.replicas"},
      {"replicas overflow", R"({"spec":{"replicas":18446744073709551615},
          "status":{"replicas":1,"updatedReplicas":1,"readyReplicas":1,
          "availableReplicas":1}})", kUnknown, "spec.replicas"},
      {"paused is text", R"({"spec":{"paused":"yes"}})", kUnknown,
       "spec.paused"},
      {"a condition is a number", R"({"status":{"conditions":[7,
          {"type":"Available","status":"True"}]}})", kUnknown, "conditions"},
      {"a condition has a boolean", R"({"status":{"conditions":[
          {"type":"Available","status":true}]}})", kProgressing, ""},
      {"status is a list", R"({"status":[1]})", kProgressing, ""},
      {"spec is text", R"({"spec":"x","status":{"replicas":1,
          "updatedReplicas":1,"readyReplicas":1,"availableReplicas":1}})",
       kUnknown, "spec"},
      {"a negative generation", R"({"metadata":{"generation":-1}})",
       kProgressing, "LatestGenerationNotObserved"},
      {"both negative", R"({"metadata":{"generation":-1},"status":{
          "observedGeneration":-1}})", kHealthy, ""},
      {"deletionTimestamp is null", R"({"metadata":{
          "deletionTimestamp":null}})", kHealthy, ""},
      {"deletionTimestamp is odd", R"({"metadata":{
          "deletionTimestamp":{}}})", kProgressing, "Terminating"},
  });
}

TEST(HealthRules, StatefulSetInDetail) {
  Expect(R"({"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{
      "generation":1},"spec":{"replicas":4},"status":{"observedGeneration":1,
      "replicas":4,"readyReplicas":4,"currentReplicas":4,"updatedReplicas":4,
      "currentRevision":"a","updateRevision":"a"}})", {
      {"no observedGeneration", R"({"status":{"observedGeneration":null}})",
       kProgressing, "LatestGenerationNotObserved"},
      {"too few", R"({"status":{"replicas":3}})", kProgressing, "of 4"},
      {"not ready", R"({"status":{"readyReplicas":2}})", kProgressing,
       "2 of 4 replicas are ready"},
      {"too many", R"({"status":{"replicas":5}})", kProgressing,
       "5 replicas are still there"},
      {"two revisions", R"({"status":{"updateRevision":"b",
          "updatedReplicas":1}})", kProgressing, "1 of 4 replicas are updated"},
      {"OnDelete", R"({"spec":{"updateStrategy":{"type":"OnDelete"}},
          "status":{"updateRevision":"b","updatedReplicas":0}})", kHealthy, ""},
      {"OnDelete, not ready", R"({"spec":{"updateStrategy":{
          "type":"OnDelete"}},"status":{"readyReplicas":3}})", kProgressing,
       "3 of 4"},
      {"a partition", R"({"spec":{"updateStrategy":{"type":"RollingUpdate",
          "rollingUpdate":{"partition":2}}},"status":{"updateRevision":"b",
          "updatedReplicas":2}})", kHealthy, ""},
      {"a partition, not done", R"({"spec":{"updateStrategy":{
          "rollingUpdate":{"partition":2}}},"status":{"updateRevision":"b",
          "updatedReplicas":1}})", kProgressing, "1 of 2 replicas"},
      {"ready, not long enough", R"({"spec":{"minReadySeconds":10},"status":{
          "availableReplicas":1}})", kProgressing, "1 of 4"},
      {"partition is text", R"({"spec":{"updateStrategy":{"rollingUpdate":{
          "partition":"2"}}}})", kUnknown, "partition"},
  });
}

TEST(HealthRules, DaemonSetAndReplicaSetInDetail) {
  Expect(R"({"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{
      "generation":1},"status":{"observedGeneration":1,
      "desiredNumberScheduled":4,"currentNumberScheduled":4,
      "updatedNumberScheduled":4,"numberAvailable":4,"numberReady":4}})", {
      {"no generation", R"({"metadata":{"generation":null}})", kProgressing,
       "LatestGenerationNotObserved"},
      {"unobserved", R"({"status":{"observedGeneration":0}})", kProgressing,
       "LatestGenerationNotObserved"},
      {"not updated", R"({"status":{"updatedNumberScheduled":2}})",
       kProgressing, "2 of 4 pods are updated"},
      {"not scheduled", R"({"status":{"currentNumberScheduled":2}})",
       kProgressing, ""},
      {"not available", R"({"status":{"numberAvailable":2}})", kProgressing,
       "2 of 4 pods are available"},
      {"not ready", R"({"status":{"numberReady":2}})", kProgressing, ""},
      {"no node fits", R"({"status":{"desiredNumberScheduled":0,
          "currentNumberScheduled":0,"updatedNumberScheduled":0,
          "numberAvailable":0,"numberReady":0}})", kHealthy, ""},
      {"wanted is text", R"({"status":{"desiredNumberScheduled":"4"}})",
       kProgressing, ""},
  });
  constexpr char kReplicaSet[] = R"({"apiVersion":"apps/v1",
      "kind":"ReplicaSet","metadata":{"generation":1},"spec":{"replicas":2},
      "status":{"observedGeneration":1,"replicas":2,"fullyLabeledReplicas":2,
      "readyReplicas":2,"availableReplicas":2}})";
  Expect(kReplicaSet, {
      {"a failure", R"({"status":{"conditions":[{"type":"ReplicaFailure",
          "status":"True","message":"quota"}]}})", kDegraded, "quota"},
      {"not labelled", R"({"status":{"fullyLabeledReplicas":1}})",
       kProgressing, ""},
      {"not available", R"({"status":{"availableReplicas":1}})", kProgressing,
       "1 of 2"},
      {"not ready", R"({"status":{"readyReplicas":1}})", kProgressing, ""},
      {"too many", R"({"status":{"replicas":3}})", kProgressing, "3 replicas"},
  });
}

TEST(HealthRules, JobsAndCronJobs) {
  Expect(R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"generation":1},
      "status":{"conditions":[{"type":"Complete","status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, "0 active"},
      {"started", R"({"status":{"conditions":null,"startTime":"x",
          "active":2,"succeeded":1}})", kProgressing,
       "2 active, 1 succeeded, 0 failed"},
      {"failed", R"({"status":{"conditions":[{"type":"Failed","status":"True",
          "reason":"BackoffLimitExceeded"}]}})", kDegraded,
       "BackoffLimitExceeded"},
      {"failed is False", R"({"status":{"conditions":[{"type":"Failed",
          "status":"False"}]}})", kProgressing, "Running"},
      {"about to fail", R"({"status":{"conditions":[{"type":"FailureTarget",
          "status":"True"}]}})", kProgressing, "Running"},
      {"suspended", R"({"spec":{"suspend":true},"status":{"conditions":[
          {"type":"Suspended","status":"True"}]}})", kSuspended, "suspend"},
      {"complete is a boolean", R"({"status":{"conditions":[
          {"type":"Complete","status":true}]}})", kProgressing, ""},
      {"conditions are a map", R"({"status":{"conditions":{
          "type":"Complete","status":"True"}}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"batch/v1","kind":"CronJob","metadata":{}})", {
      {"suspended", R"({"spec":{"suspend":true}})", kSuspended, "suspend"},
      {"suspend is odd", R"({"spec":{"suspend":1}})", kUnknown,
       "spec.suspend"},
  });
}

TEST(HealthRules, CoreKinds) {
  Expect(R"({"apiVersion":"v1","kind":"Service","metadata":{},"spec":{
      "type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[
      {"ip":"10.0.0.1"}]}}})", {
      {"no address", R"({"status":null})", kProgressing, "address"},
      {"an empty list", R"({"status":{"loadBalancer":{"ingress":[]}}})",
       kProgressing, "address"},
      {"a list of text", R"({"status":{"loadBalancer":{"ingress":["x"]}}})",
       kProgressing, "address"},
      {"ClusterIP", R"({"spec":{"type":"ClusterIP"},"status":null})",
       kHealthy, ""},
      {"no type", R"({"spec":null,"status":null})", kHealthy, ""},
      {"type is odd", R"({"spec":{"type":[]}})", kUnknown, "spec.type"},
  });
  Expect(R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{},
      "status":{"phase":"Bound"}})", {
      {"no status", R"({"status":null})", kProgressing, "no volume"},
      {"pending", R"({"status":{"phase":"Pending"}})", kProgressing,
       "no volume"},
      {"lost", R"({"status":{"phase":"Lost"}})", kDegraded, "lost"},
      {"phase is odd", R"({"status":{"phase":1}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"v1","kind":"PersistentVolume","metadata":{},
      "status":{"phase":"Available"}})", {
      {"bound", R"({"status":{"phase":"Bound"}})", kHealthy, ""},
      {"pending", R"({"status":{"phase":"Pending"}})", kProgressing, ""},
      {"failed", R"({"status":{"phase":"Failed","message":"no disk"}})",
       kDegraded, "no disk"},
      {"no status", R"({"status":null})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"v1","kind":"Namespace","metadata":{},
      "status":{"phase":"Active"}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"terminating", R"({"status":{"phase":"Terminating"}})", kProgressing,
       "not active"},
  });
  Expect(R"({"apiVersion":"policy/v1","kind":"PodDisruptionBudget",
      "metadata":{"generation":1},"status":{"observedGeneration":1}})", {
      {"unobserved", R"({"status":null})", kProgressing,
       "LatestGenerationNotObserved"},
      {"no disruption allowed", R"({"status":{"conditions":[
          {"type":"DisruptionAllowed","status":"False"}]}})", kHealthy, ""},
  });
  Expect(R"({"apiVersion":"v1","kind":"ConfigMap","metadata":{}})", {
      {"being deleted", R"({"metadata":{"deletionTimestamp":"x"}})",
       kProgressing, "deleted"},
  });
  Expect(R"({"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService",
      "metadata":{},"status":{"conditions":[{"type":"Available",
      "status":"True"}]}})", {
      {"not available", R"({"status":{"conditions":[{"type":"Available",
          "status":"False","reason":"MissingEndpoints"}]}})", kProgressing,
       "MissingEndpoints"},
      {"no status", R"({"status":null})", kProgressing, ""},
  });
}

TEST(HealthRules, CustomResourceDefinitions) {
  constexpr char kCrd[] = R"({"apiVersion":"apiextensions.k8s.io/v1",
      "kind":"CustomResourceDefinition","metadata":{},"spec":{"group":"x.io",
      "names":{"kind":"Widget"},"versions":[{"name":"v1","served":true},
      {"name":"v0","served":false}]},"status":{"conditions":[
      {"type":"NamesAccepted","status":"True"},
      {"type":"Established","status":"True"}]}})";
  Expect(kCrd, {
      {"installing", R"({"status":{"conditions":[{"type":"Established",
          "status":"False","reason":"Installing"}]}})", kProgressing,
       "established"},
      {"not established", R"({"status":{"conditions":[{"type":"Established",
          "status":"False","reason":"NotAccepted","message":"why"}]}})",
       kDegraded, "why"},
      {"names taken", R"({"status":{"conditions":[{"type":"NamesAccepted",
          "status":"False","message":"taken"},{"type":"Established",
          "status":"True"}]}})", kDegraded, "taken"},
      {"no status", R"({"status":null})", kProgressing, "established"},
  });
  HealthContext context = Now();
  context.served = [](absl::string_view, absl::string_view version,
                      absl::string_view) { return version != "v1"; };

  const HealthVerdict early = JudgeHealth(json::parse(kCrd), context);
  EXPECT_EQ(early.health, kProgressing);
  EXPECT_THAT(early.message, HasSubstr("x.io/v1"));

  context.served = [](absl::string_view group, absl::string_view version,
                      absl::string_view kind) {
    return group == "x.io" && version == "v1" && kind == "Widget";
  };
  EXPECT_EQ(JudgeHealth(json::parse(kCrd), context).health, kHealthy);
}

TEST(HealthRules, ClaimsThatWaitForAPodLetOthersGoOn) {
  const json claim = json::parse(R"({"apiVersion":"v1",
      "kind":"PersistentVolumeClaim","metadata":{},"spec":{
      "storageClassName":"late"},"status":{"phase":"Pending"}})");
  HealthContext context = Now();
  EXPECT_FALSE(LetsOthersGoOn(JudgeHealth(claim, context)));

  context.binds_late = [](absl::string_view name) -> absl::optional<bool> {
    if (name == "late") return true;
    return absl::nullopt;
  };
  const HealthVerdict verdict = JudgeHealth(claim, context);
  EXPECT_EQ(verdict.health, kProgressing);
  EXPECT_THAT(verdict.message, HasSubstr("late"));
  EXPECT_TRUE(LetsOthersGoOn(verdict));

  json other = claim;
  other["spec"]["storageClassName"] = "unknown";
  EXPECT_FALSE(LetsOthersGoOn(JudgeHealth(other, context)));
}

TEST(HealthRules, KindsOfTheTable) {
  Expect(R"({"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler",
      "metadata":{},"status":{"conditions":[{"type":"AbleToScale",
      "status":"True"},{"type":"ScalingActive","status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"no metrics", R"({"status":{"conditions":[{"type":"AbleToScale",
          "status":"True"},{"type":"ScalingActive","status":"False",
          "reason":"FailedGetResourceMetric"}]}})", kProgressing,
       "FailedGetResourceMetric"},
      {"off", R"({"status":{"conditions":[{"type":"ScalingActive",
          "status":"False","reason":"ScalingDisabled"}]}})", kSuspended, ""},
      {"two select its pods", R"({"status":{"conditions":[
          {"type":"ScalingActive","status":"False",
          "reason":"InvalidSelector"}]}})", kDegraded, ""},
      {"limited", R"({"status":{"conditions":[{"type":"AbleToScale",
          "status":"True"},{"type":"ScalingLimited","status":"True"}]}})",
       kHealthy, ""},
  });
  Expect(R"({"apiVersion":"networking.k8s.io/v1","kind":"Ingress",
      "metadata":{},"status":{"loadBalancer":{"ingress":[{"ip":"1"}]}}})", {
      {"no word", R"({"status":{"loadBalancer":null}})", kNotTrackable, ""},
      {"refused", R"({"status":{"conditions":[{"type":"Accepted",
          "status":"False","message":"no class"}]}})", kDegraded, "no class"},
  });
  Expect(R"({"apiVersion":"gateway.networking.k8s.io/v1","kind":"Gateway",
      "metadata":{},"status":{"conditions":[{"type":"Accepted",
      "status":"True"},{"type":"Programmed","status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"pending", R"({"status":{"conditions":[{"type":"Accepted",
          "status":"False","reason":"Pending"}]}})", kProgressing, ""},
      {"refused", R"({"status":{"conditions":[{"type":"Accepted",
          "status":"False","reason":"InvalidParameters"}]}})", kDegraded, ""},
      {"no address", R"({"status":{"conditions":[{"type":"Programmed",
          "status":"False","reason":"AddressNotAssigned"}]}})", kProgressing,
       "AddressNotAssigned"},
  });
  Expect(R"({"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute",
      "metadata":{},"status":{"parents":[{"conditions":[{"type":"Accepted",
      "status":"True"},{"type":"ResolvedRefs","status":"True"}]}]}})", {
      {"no parent", R"({"status":{"parents":[]}})", kProgressing, ""},
      {"one of two", R"({"status":{"parents":[{"conditions":[
          {"type":"Accepted","status":"True"}]},{"conditions":[
          {"type":"ResolvedRefs","status":"False","message":"no service"}]}
          ]}})", kDegraded, "no service"},
      {"parents are odd", R"({"status":{"parents":"x"}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"gateway.networking.k8s.io/v1",
      "kind":"GatewayClass","metadata":{},"status":{"conditions":[
      {"type":"Accepted","status":"True"}]}})", {
      {"unknown", R"({"status":{"conditions":[{"type":"Accepted",
          "status":"Unknown"}]}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"cert-manager.io/v1","kind":"Certificate",
      "metadata":{},"status":{"conditions":[{"type":"Ready",
      "status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"issuing", R"({"status":{"conditions":[{"type":"Ready",
          "status":"True"},{"type":"Issuing","status":"True"}]}})",
       kProgressing, ""},
      {"not ready", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","reason":"Expired"}]}})", kDegraded, "Expired"},
      {"just made", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","reason":"DoesNotExist"}]}})", kProgressing, ""},
      {"failed", R"({"status":{"conditions":[{"type":"Issuing",
          "status":"False","reason":"Failed","message":"no"}]}})", kDegraded,
       "no"},
  });
  Expect(R"({"apiVersion":"cert-manager.io/v1","kind":"ClusterIssuer",
      "metadata":{},"status":{"conditions":[{"type":"Ready",
      "status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"not ready", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","message":"no account"}]}})", kDegraded,
       "no account"},
  });
  Expect(R"({"apiVersion":"cert-manager.io/v1","kind":"CertificateRequest",
      "metadata":{},"status":{"conditions":[{"type":"Ready",
      "status":"True"}]}})", {
      {"denied", R"({"status":{"conditions":[{"type":"Denied",
          "status":"True"}]}})", kDegraded, ""},
      {"pending", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","reason":"Pending"}]}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"acme.cert-manager.io/v1","kind":"Order",
      "metadata":{},"status":{"state":"valid"}})", {
      {"invalid", R"({"status":{"state":"invalid"}})", kDegraded, "invalid"},
      {"pending", R"({"status":{"state":"pending"}})", kProgressing, ""},
      {"state is odd", R"({"status":{"state":{}}})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"kustomize.toolkit.fluxcd.io/v1",
      "kind":"Kustomization","metadata":{"generation":2},"status":{
      "observedGeneration":2,"conditions":[{"type":"Ready",
      "status":"True"}]}})", {
      {"no status", R"({"status":null})", kProgressing, ""},
      {"suspended", R"({"spec":{"suspend":true}})", kSuspended, ""},
      {"failed", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","reason":"BuildFailed"}]}})", kDegraded,
       "BuildFailed"},
      {"reconciling", R"({"status":{"conditions":[{"type":"Reconciling",
          "status":"True"},{"type":"Ready","status":"False"}]}})",
       kProgressing, ""},
      {"waits", R"({"status":{"conditions":[{"type":"Ready",
          "status":"False","reason":"DependencyNotReady"}]}})", kProgressing,
       ""},
  });
  Expect(R"({"apiVersion":"source.toolkit.fluxcd.io/v1",
      "kind":"HelmRepository","metadata":{},"status":{"conditions":[
      {"type":"Ready","status":"True"}]}})", {
      {"of a registry", R"({"spec":{"type":"oci"},"status":null})",
       kNotTrackable, ""},
  });
  Expect(R"({"apiVersion":"argoproj.io/v1alpha1","kind":"Rollout",
      "metadata":{"generation":2},"status":{"observedGeneration":"2",
      "phase":"Healthy"}})", {
      {"unobserved", R"({"status":{"observedGeneration":"1"}})", kProgressing,
       "LatestGenerationNotObserved"},
      {"paused", R"({"status":{"phase":"Paused","message":"CanaryPause"}})",
       kSuspended, "paused"},
      {"degraded", R"({"status":{"phase":"Degraded","message":"aborted"}})",
       kDegraded, "aborted"},
      {"going on", R"({"status":{"phase":"Progressing"}})", kProgressing, ""},
      {"no status", R"({"status":null})", kProgressing, ""},
  });
  Expect(R"({"apiVersion":"argoproj.io/v1alpha1","kind":"Application",
      "metadata":{},"status":{"health":{"status":"Healthy"}}})", {
      {"degraded", R"({"status":{"health":{"status":"Degraded"}}})",
       kDegraded, ""},
      {"unknown", R"({"status":{"health":{"status":"Unknown"}}})",
       kProgressing, ""},
  });
  Expect(R"({"apiVersion":"snapshot.storage.k8s.io/v1",
      "kind":"VolumeSnapshot","metadata":{},"status":{"readyToUse":true}})", {
      {"not yet", R"({"status":{"readyToUse":false}})", kProgressing, ""},
      {"failed", R"({"status":{"readyToUse":false,"error":{
          "message":"no"}}})", kDegraded, ""},
  });
}

TEST(HealthRules, AControllerHasTimeToWriteAFirstStatus) {
  json object = json::parse(R"({"apiVersion":"x.io/v1","kind":"Thing",
      "metadata":{}})");
  HealthContext context = Now();
  context.has_status = true;
  object["metadata"]["creationTimestamp"] = Ago(absl::Seconds(10));

  const HealthVerdict early = JudgeHealth(object, context);
  EXPECT_EQ(early.health, kProgressing) << early.message;
  EXPECT_EQ(early.until, kNow + absl::Seconds(20));

  object["status"] = json::object();
  EXPECT_EQ(JudgeHealth(object, context).health, kProgressing);
  object["status"]["anything"] = 1;
  EXPECT_EQ(JudgeHealth(object, context).health, kNotTrackable);
  object.erase("status");
  object["metadata"]["creationTimestamp"] = Ago(absl::Seconds(31));
  EXPECT_EQ(JudgeHealth(object, context).health, kNotTrackable);
  object["metadata"]["creationTimestamp"] = Ago(absl::Hours(-5));
  EXPECT_EQ(JudgeHealth(object, context).until, kNow + absl::Seconds(30));
  object["metadata"]["creationTimestamp"] = 7;
  EXPECT_EQ(JudgeHealth(object, context).health, kUnknown);
  context.has_status = false;
  object["metadata"]["creationTimestamp"] = Ago(absl::ZeroDuration());
  EXPECT_EQ(JudgeHealth(object, context).health, kNotTrackable);
}

TEST(HealthRules, TheUsersRuleComesAfterTheGenericOnes) {
  google::protobuf::RepeatedPtrField<core::v1::HealthRule> rules;
  core::v1::HealthRule* rule = rules.Add();
  rule->set_group("x.io");
  rule->set_kind("Thing");
  rule->set_script(R"(
      if obj.status ~= nil and obj.status.level == "high" then
        return {status = "Degraded", message = "level is high"}
      end
      return {status = "Healthy"})");
  HealthContext context = Now();
  context.rules = &rules;
  json object = json::parse(R"({"apiVersion":"x.io/v1","kind":"Thing",
      "metadata":{"generation":2},"status":{"level":"high"}})");

  EXPECT_EQ(JudgeHealth(object, context).message, "level is high");
  object["status"]["level"] = "low";
  EXPECT_EQ(JudgeHealth(object, context).health, kHealthy);
  object["status"]["observedGeneration"] = 1;
  EXPECT_EQ(JudgeHealth(object, context).reason,
            "LatestGenerationNotObserved");
  object["status"].erase("observedGeneration");
  object["apiVersion"] = "y.io/v1";
  EXPECT_EQ(JudgeHealth(object, context).health, kNotTrackable);

  object["apiVersion"] = "x.io/v1";
  for (const auto& [script, words] :
       std::vector<std::pair<std::string, std::string>>{
           {"return {status = \n  'Good'}", "status \"Good\""},
           {"return {}", "status \"\""},
           {"return 'Healthy'", "returns no table"},
           {"local x = 1\nreturn obj.status.none.more", "line 2: "},
           {"local x =\n= 1", "line 2: "},
           {"return {status = 'Unknown', message = 'who knows'}", "who knows"},
       }) {
    rule->set_script(script);
    const HealthVerdict verdict = JudgeHealth(object, context);
    EXPECT_EQ(verdict.health, kUnknown) << script;
    EXPECT_THAT(verdict.message, HasSubstr(words)) << script;
  }
  rule->set_group("");
  rule->set_kind("ConfigMap");
  EXPECT_THAT(JudgeHealth(json::parse(R"({"apiVersion":"v1",
      "kind":"ConfigMap","metadata":{}})"), context).message,
              HasSubstr("only the metadata"));
}

// Each field of each object, replaced by values that nobody expects: nothing
// crashes, and no object that was not healthy becomes so.
TEST(HealthRules, OddShapesAreNeverHealthier) {
  const char* const kBroken[] = {
      R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{
        "generation":2},"spec":{"replicas":3},"status":{
        "observedGeneration":2,"replicas":3,"updatedReplicas":3,
        "readyReplicas":1,"availableReplicas":1,"conditions":[
        {"type":"Available","status":"False"}]}})",
      R"({"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{
        "generation":2},"spec":{"replicas":3},"status":{
        "observedGeneration":2,"replicas":3,"readyReplicas":1}})",
      R"({"apiVersion":"batch/v1","kind":"Job","metadata":{},"status":{
        "conditions":[{"type":"Failed","status":"True"}]}})",
      R"({"apiVersion":"v1","kind":"Pod","metadata":{},"status":{
        "phase":"Running","conditions":[{"type":"Ready","status":"False"}],
        "containerStatuses":[{"name":"c","state":{"waiting":{
        "reason":"CrashLoopBackOff"}}}]}})",
      R"({"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{},
        "status":{"phase":"Lost"}})",
      R"({"apiVersion":"x.io/v1","kind":"Thing","metadata":{},"status":{
        "conditions":[{"type":"Ready","status":"False"}]}})",
  };
  const char* const kValues[] = {
      "null", "true", "-1", "18446744073709551615", "1e300", "\"\"", "\"2\"",
      "[]", "[null]", "[[[]]]", "{}", "{\"a\":{}}"};
  for (const char* const text : kBroken) {
    const json object = json::parse(text);
    const json fields = object.flatten();
    for (const auto& item : fields.items()) {
      // The field and all that it lies in.
      for (json::json_pointer at(item.key()); !at.empty();
           at = at.parent_pointer()) {
        for (const char* const value : kValues) {
          json odd = object;
          odd[at] = json::parse(value);
          const HealthVerdict verdict = JudgeHealth(odd, Now());
          const bool removed =
              odd[at].is_null() || odd[at].is_structured();
          if (verdict.health == kHealthy && !removed) {
            // A number that is as good as the one that was wanted.
            EXPECT_THAT(at.to_string(), ::testing::AnyOf(
                HasSubstr("replicas"), HasSubstr("Replicas")))
                << text << " with " << value;
          }
        }
      }
    }
  }
}

TEST(HealthRules, IgnoredConditionsDoNotCount) {
  const nlohmann::json object = nlohmann::json::parse(R"({
      "kind": "Widget", "apiVersion": "x/v1", "metadata": {"name": "w"}, "status": {"conditions": [
        {"type": "Stalled", "status": "True", "reason": "r"},
        {"type": "Ready", "status": "True"}]}})");
  google::protobuf::RepeatedPtrField<core::v1::ConditionPattern> patterns;
  core::v1::ConditionPattern* pattern = patterns.Add();
  const auto demand = [pattern](const char* key, const char* value) {
    core::v1::LabelPair* field = pattern->add_fields();
    field->set_key(key);
    field->set_value(value);
  };
  nlohmann::json judged = object;
  DropConditions(patterns, &judged);  // A pattern of nothing matches nothing.
  EXPECT_EQ(judged, object);
  demand("type", "Stalled");
  demand("status", "True");
  DropConditions(patterns, &judged);
  EXPECT_EQ(JudgeHealth(judged, Now()).health, core::v1::HEALTH_HEALTHY);

  judged = object;
  demand("reason", "another");
  DropConditions(patterns, &judged);
  EXPECT_EQ(judged, object);
  for (const char* const odd : {"null", "[]", R"({"status": 1})",
                                R"({"status": {"conditions": [1, null]}})"}) {
    judged = nlohmann::json::parse(odd);
    DropConditions(patterns, &judged);
  }
}

}  // namespace
}  // namespace flotilla::agent
