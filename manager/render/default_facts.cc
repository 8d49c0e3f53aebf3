// SPDX-License-Identifier: Apache-2.0

#include "manager/render/default_facts.h"

#include <algorithm>
#include <tuple>

namespace flotilla::manager {
namespace {

struct Kind {
  const char* group;
  const char* version;
  const char* kind;
  const char* plural;
  bool namespaced;
};

constexpr bool kNamespaced = true;
constexpr bool kCluster = false;

// Sorted by (group, kind, version); what an API server serves by default.
constexpr Kind kKinds[] = {
    {"", "v1", "Binding", "bindings", kNamespaced},
    {"", "v1", "ComponentStatus", "componentstatuses", kCluster},
    {"", "v1", "ConfigMap", "configmaps", kNamespaced},
    {"", "v1", "Endpoints", "endpoints", kNamespaced},
    {"", "v1", "Event", "events", kNamespaced},
    {"", "v1", "LimitRange", "limitranges", kNamespaced},
    {"", "v1", "Namespace", "namespaces", kCluster},
    {"", "v1", "Node", "nodes", kCluster},
    {"", "v1", "PersistentVolume", "persistentvolumes", kCluster},
    {"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", kNamespaced},
    {"", "v1", "Pod", "pods", kNamespaced},
    {"", "v1", "PodTemplate", "podtemplates", kNamespaced},
    {"", "v1", "ReplicationController", "replicationcontrollers", kNamespaced},
    {"", "v1", "ResourceQuota", "resourcequotas", kNamespaced},
    {"", "v1", "Secret", "secrets", kNamespaced},
    {"", "v1", "Service", "services", kNamespaced},
    {"", "v1", "ServiceAccount", "serviceaccounts", kNamespaced},
    {"admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy",
     "mutatingadmissionpolicies", kCluster},
    {"admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding",
     "mutatingadmissionpolicybindings", kCluster},
    {"admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration",
     "mutatingwebhookconfigurations", kCluster},
    {"admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy",
     "validatingadmissionpolicies", kCluster},
    {"admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding",
     "validatingadmissionpolicybindings", kCluster},
    {"admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration",
     "validatingwebhookconfigurations", kCluster},
    {"apiextensions.k8s.io", "v1", "CustomResourceDefinition",
     "customresourcedefinitions", kCluster},
    {"apiregistration.k8s.io", "v1", "APIService", "apiservices", kCluster},
    {"apps", "v1", "ControllerRevision", "controllerrevisions", kNamespaced},
    {"apps", "v1", "DaemonSet", "daemonsets", kNamespaced},
    {"apps", "v1", "Deployment", "deployments", kNamespaced},
    {"apps", "v1", "ReplicaSet", "replicasets", kNamespaced},
    {"apps", "v1", "StatefulSet", "statefulsets", kNamespaced},
    {"authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews",
     kCluster},
    {"authentication.k8s.io", "v1", "TokenReview", "tokenreviews", kCluster},
    {"authorization.k8s.io", "v1", "LocalSubjectAccessReview",
     "localsubjectaccessreviews", kNamespaced},
    {"authorization.k8s.io", "v1", "SelfSubjectAccessReview",
     "selfsubjectaccessreviews", kCluster},
    {"authorization.k8s.io", "v1", "SelfSubjectRulesReview",
     "selfsubjectrulesreviews", kCluster},
    {"authorization.k8s.io", "v1", "SubjectAccessReview",
     "subjectaccessreviews", kCluster},
    {"autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
     kNamespaced},
    {"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
     kNamespaced},
    {"batch", "v1", "CronJob", "cronjobs", kNamespaced},
    {"batch", "v1", "Job", "jobs", kNamespaced},
    {"certificates.k8s.io", "v1", "CertificateSigningRequest",
     "certificatesigningrequests", kCluster},
    {"coordination.k8s.io", "v1", "Lease", "leases", kNamespaced},
    {"discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", kNamespaced},
    {"events.k8s.io", "v1", "Event", "events", kNamespaced},
    {"flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas",
     kCluster},
    {"flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration",
     "prioritylevelconfigurations", kCluster},
    {"networking.k8s.io", "v1", "IPAddress", "ipaddresses", kCluster},
    {"networking.k8s.io", "v1", "Ingress", "ingresses", kNamespaced},
    {"networking.k8s.io", "v1", "IngressClass", "ingressclasses", kCluster},
    {"networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies",
     kNamespaced},
    {"networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", kCluster},
    {"node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", kCluster},
    {"policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets",
     kNamespaced},
    {"rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles",
     kCluster},
    {"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding",
     "clusterrolebindings", kCluster},
    {"rbac.authorization.k8s.io", "v1", "Role", "roles", kNamespaced},
    {"rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings",
     kNamespaced},
    {"resource.k8s.io", "v1", "DeviceClass", "deviceclasses", kCluster},
    {"resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", kNamespaced},
    {"resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates",
     kNamespaced},
    {"resource.k8s.io", "v1", "ResourceSlice", "resourceslices", kCluster},
    {"scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", kCluster},
    {"storage.k8s.io", "v1", "CSIDriver", "csidrivers", kCluster},
    {"storage.k8s.io", "v1", "CSINode", "csinodes", kCluster},
    {"storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities",
     kNamespaced},
    {"storage.k8s.io", "v1", "StorageClass", "storageclasses", kCluster},
    {"storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", kCluster},
    {"storage.k8s.io", "v1", "VolumeAttributesClass", "volumeattributesclasses",
     kCluster},
};

}  // namespace

core::v1::ClusterFacts DefaultClusterFacts() {
  core::v1::ClusterFacts facts;
  facts.set_kube_version("v1.36.3");
  for (const Kind& kind : kKinds) {
    core::v1::KindFact* fact = facts.add_kinds();
    fact->set_group(kind.group);
    fact->set_version(kind.version);
    fact->set_kind(kind.kind);
    fact->set_plural(kind.plural);
    fact->set_namespaced(kind.namespaced);
  }
  std::sort(facts.mutable_kinds()->begin(), facts.mutable_kinds()->end(),
            [](const core::v1::KindFact& a, const core::v1::KindFact& b) {
              return std::make_tuple(a.group(), a.version(), a.kind()) <
                     std::make_tuple(b.group(), b.version(), b.kind());
            });
  return facts;
}

}  // namespace flotilla::manager
