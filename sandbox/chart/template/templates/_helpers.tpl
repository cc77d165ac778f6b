{{- /* The prefix of every object's name. Argo CD's own manifests support only `argocd`. */ -}}
{{- define "argo-cd.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Values.nameOverride $name) -}}
{{- $name = printf "%s-%s" $name .Values.nameOverride -}}
{{- end -}}
{{- $name = default $name .Values.fullnameOverride -}}
{{- if ne $name "argocd" -}}
{{- fail (printf "this stand-in of the argo-cd chart can name its objects argocd-* only, not %s-*: name the release argocd" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "argo-cd.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "argo-cd.tag" -}}
{{- default .Chart.AppVersion .Values.global.image.tag -}}
{{- end -}}

{{- /* The labels of the release on every object. */ -}}
{{- define "argo-cd.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: argocd
app.kubernetes.io/version: {{ include "argo-cd.tag" . | quote }}
{{- end -}}

{{- /* Set the namespace and labels of this release on `object`. */ -}}
{{- define "argo-cd.adopt" -}}
{{- $namespace := include "argo-cd.namespace" .root -}}
{{- $metadata := .object.metadata -}}
{{- if not (hasPrefix "Cluster" .object.kind) -}}
{{- $_ := set $metadata "namespace" $namespace -}}
{{- end -}}
{{- $_ := set $metadata "labels" (merge (include "argo-cd.labels" .root | fromYaml) $metadata.labels) -}}
{{- range .object.subjects -}}
{{- $_ := set . "namespace" $namespace -}}
{{- end -}}
{{- end -}}

{{- /* Apply the values of its component to a Deployment or StatefulSet. */ -}}
{{- define "argo-cd.workload" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $spec := .object.spec -}}
{{- $pod := $spec.template -}}
{{- $selected := $spec.selector.matchLabels -}}
{{- $main := first $pod.spec.containers -}}
{{- if and $values.autoscaling $values.autoscaling.enabled -}}
{{- $_ := unset $spec "replicas" -}}
{{- else if hasKey $values "replicas" -}}
{{- $_ := set $spec "replicas" $values.replicas -}}
{{- end -}}
{{- with $values.resources -}}
{{- $_ := set $main "resources" . -}}
{{- end -}}
{{- with $values.extraEnv -}}
{{- $_ := set $main "env" (concat (default list $main.env) .) -}}
{{- end -}}
{{- range $main.env -}}
{{- if eq .name "ARGOCD_CONTROLLER_REPLICAS" -}}
{{- $_ := set . "value" (toString $values.replicas) -}}
{{- end -}}
{{- end -}}
{{- range concat $pod.spec.containers (default list $pod.spec.initContainers) -}}
{{- if hasPrefix "quay.io/argoproj/argocd:" .image -}}
{{- $_ := set . "image" (printf "%s:%s" $root.Values.global.image.repository (include "argo-cd.tag" $root)) -}}
{{- $_ := set . "imagePullPolicy" $root.Values.global.image.imagePullPolicy -}}
{{- end -}}
{{- end -}}
{{- /* The chart of redis-ha inherits nothing of `global`. */ -}}
{{- $placement := eq .component "redis-ha" | ternary $values $root.Values.global -}}
{{- with $placement.nodeSelector -}}
{{- $_ := set $pod.spec "nodeSelector" . -}}
{{- end -}}
{{- with $placement.tolerations -}}
{{- $_ := set $pod.spec "tolerations" . -}}
{{- end -}}
{{- $spread := list -}}
{{- range $root.Values.global.topologySpreadConstraints -}}
{{- $spread = append $spread (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" $selected))) -}}
{{- end -}}
{{- with $spread -}}
{{- $_ := set $pod.spec "topologySpreadConstraints" . -}}
{{- end -}}
{{- $labels := pick .object.metadata.labels "app.kubernetes.io/component" "app.kubernetes.io/part-of" -}}
{{- $_ := set $pod.metadata "labels" (merge $pod.metadata.labels $labels) -}}
{{- /* A checksum of the parameters, since a component must restart to read new ones. */ -}}
{{- $checksums := dict
  "checksum/cm" (include "argo-cd.cm" $root | sha256sum)
  "checksum/cmd-params" (include "argo-cd.params" $root | sha256sum) -}}
{{- $_ := set $pod.metadata "annotations" (merge (default dict $pod.metadata.annotations) (default dict $values.podAnnotations) $checksums) -}}
{{- end -}}

{{- /* Data of argocd-cm: the values of configs.cm override what is derived from other values. */ -}}
{{- define "argo-cd.cm" -}}
{{- $data := dict "url" (printf "https://%s" .Values.global.domain) -}}
{{- range $key, $value := omit .Values.configs.cm "create" "annotations" -}}
{{- if ne (toString $value) "" -}}
{{- $_ := set $data $key (toString $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{- /* Data of argocd-cmd-params-cm, likewise. */ -}}
{{- define "argo-cd.params" -}}
{{- $redis := index .Values "redis-ha" "enabled" | ternary "argocd-redis-ha-haproxy" "argocd-redis" -}}
{{- $data := dict
  "redis.server" (printf "%s:6379" $redis)
  "repo.server" "argocd-repo-server:8081"
  "server.repo.server.strict.tls" "false"
  "applicationsetcontroller.enable.leader.election" (gt (int .Values.applicationSet.replicas) 1 | toString) -}}
{{- if .Values.dex.enabled -}}
{{- $_ := set $data "server.dex.server" "https://argocd-dex-server:5556" -}}
{{- $_ := set $data "server.dex.server.strict.tls" "false" -}}
{{- end -}}
{{- range list "applicationsetcontroller" "controller" "dexserver" "notificationscontroller" "reposerver" "server" -}}
{{- $_ := set $data (printf "%s.log.format" .) $.Values.global.logging.format -}}
{{- $_ := set $data (printf "%s.log.level" .) $.Values.global.logging.level -}}
{{- end -}}
{{- range $key, $value := omit .Values.configs.params "create" "annotations" -}}
{{- $_ := set $data $key (toString $value) -}}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{- /* Data of argocd-secret. Argo CD itself adds the keys that are absent. */ -}}
{{- define "argo-cd.secret" -}}
{{- $secret := .Values.configs.secret -}}
{{- $data := deepCopy $secret.extra -}}
{{- $webhooks := dict
  "webhook.azuredevops.password" $secret.azureDevops.password
  "webhook.azuredevops.username" $secret.azureDevops.username
  "webhook.github.secret" $secret.githubSecret
  "webhook.gitlab.secret" $secret.gitlabSecret
  "webhook.bitbucketserver.secret" $secret.bitbucketServerSecret
  "webhook.bitbucket.uuid" $secret.bitbucketUUID
  "webhook.gogs.secret" $secret.gogsSecret -}}
{{- range $key, $value := $webhooks -}}
{{- with $value -}}
{{- $_ := set $data $key . -}}
{{- end -}}
{{- end -}}
{{- with $secret.argocdServerAdminPassword -}}
{{- $_ := set $data "admin.password" . -}}
{{- $_ := set $data "admin.passwordMtime" (default (now | date "2006-01-02T15:04:05Z") $secret.argocdServerAdminPasswordMtime) -}}
{{- end -}}
{{- range $key, $value := $data -}}
{{- $_ := set $data $key (b64enc $value) -}}
{{- end -}}
{{- toYaml $data -}}
{{- end -}}

{{- /* The metadata of the object `name`, which Argo CD's manifests do not contain. */ -}}
{{- define "argo-cd.metadata" }}
metadata:
  name: {{ .name }}
  namespace: {{ include "argo-cd.namespace" .root }}
  labels:
    app.kubernetes.io/name: {{ .name }}
    {{- include "argo-cd.labels" .root | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
