// SPDX-License-Identifier: Apache-2.0

#include "common/kube/plain_kinds.h"

#include <string>

namespace flotilla {

ServedKind MakeServedKind(absl::string_view group, absl::string_view version,
                          absl::string_view kind, absl::string_view plural,
                          bool namespaced) {
  ServedKind served;
  served.group = std::string(group);
  served.version = std::string(version);
  served.kind = std::string(kind);
  served.plural = std::string(plural);
  served.namespaced = namespaced;
  served.verbs = {"create", "delete", "get",  "list",
                  "patch",  "update", "watch"};
  return served;
}

std::vector<ServedKind> PlainKinds() {
  return {
      MakeServedKind("", "v1", "Namespace", "namespaces", false),
      MakeServedKind("", "v1", "ConfigMap", "configmaps", true),
      MakeServedKind("", "v1", "Secret", "secrets", true),
      MakeServedKind("", "v1", "Service", "services", true),
      MakeServedKind("", "v1", "ServiceAccount", "serviceaccounts", true),
      MakeServedKind("", "v1", "Pod", "pods", true),
      MakeServedKind("", "v1", "PersistentVolumeClaim",
                     "persistentvolumeclaims", true),
      MakeServedKind("apps", "v1", "Deployment", "deployments", true),
      MakeServedKind("apps", "v1", "StatefulSet", "statefulsets", true),
      MakeServedKind("apps", "v1", "DaemonSet", "daemonsets", true),
      MakeServedKind("apps", "v1", "ReplicaSet", "replicasets", true),
      MakeServedKind("batch", "v1", "Job", "jobs", true),
      MakeServedKind("batch", "v1", "CronJob", "cronjobs", true),
      MakeServedKind("networking.k8s.io", "v1", "Ingress", "ingresses", true),
      MakeServedKind("policy", "v1", "PodDisruptionBudget",
                     "poddisruptionbudgets", true),
      MakeServedKind("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
      MakeServedKind("rbac.authorization.k8s.io", "v1", "RoleBinding",
                     "rolebindings", true),
      MakeServedKind("rbac.authorization.k8s.io", "v1", "ClusterRole",
                     "clusterroles", false),
      MakeServedKind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding",
                     "clusterrolebindings", false),
      MakeServedKind("apiextensions.k8s.io", "v1", "CustomResourceDefinition",
                     "customresourcedefinitions", false),
      MakeServedKind("admissionregistration.k8s.io", "v1",
                     "ValidatingWebhookConfiguration",
                     "validatingwebhookconfigurations", false),
      MakeServedKind("admissionregistration.k8s.io", "v1",
                     "MutatingWebhookConfiguration",
                     "mutatingwebhookconfigurations", false),
  };
}

}  // namespace flotilla
