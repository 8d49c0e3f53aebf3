// SPDX-License-Identifier: Apache-2.0

#include "agent/health/health_rules.h"

#include "gmock/gmock.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using ::testing::HasSubstr;
using nlohmann::json;

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
    const HealthVerdict verdict = JudgeHealth(DeploymentWith(c.object));
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
    const HealthVerdict verdict = JudgeHealth(json::parse(c.object));
    EXPECT_EQ(verdict.health, c.health) << c.what << ": " << verdict.message;
    EXPECT_THAT(verdict.reason + " " + verdict.message, HasSubstr(c.words))
        << c.what;
  }
}

TEST(PodTrouble, NamesThePodTheContainerAndTheReason) {
  EXPECT_EQ(PodTrouble(json::parse(R"({"metadata":{"name":"web-1"},
      "status":{"containerStatuses":[{"name":"app","state":{"waiting":{
      "reason":"CrashLoopBackOff","message":"back-off 10s"}}}]}})")),
            "pod web-1: container app: CrashLoopBackOff: back-off 10s");
  EXPECT_EQ(PodTrouble(json::parse(kReadyDeployment)), "");
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
  EXPECT_EQ(JudgeHealth(judged).health, core::v1::HEALTH_HEALTHY);

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
