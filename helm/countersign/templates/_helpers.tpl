{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters, so that the services' own ends fit behind it. */}}
{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "countersign.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels that never change: what Deployments and Services select by. Takes root and component. */}}
{{- define "countersign.selector" -}}
app.kubernetes.io/name: {{ include "countersign.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "countersign.labels" -}}
{{ include "countersign.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "countersign.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end }}
{{- end }}
{{- end }}

{{- define "countersign.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "countersign.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "countersign.secretName" -}}
{{ default (include "countersign.fullname" .) .Values.secrets.existingSecret }}
{{- end }}

{{/* Everything that is missing, at once. */}}
{{- define "countersign.require" -}}
{{- $missing := list }}
{{- if not .Values.image.repository }}
{{- $missing = append $missing "image.repository: where you keep the image, such as registry.example.com/countersign" }}
{{- end }}
{{- if not .Values.config.notification.public_url }}
{{- $missing = append $missing "config.notification.public_url: how customers reach the pages, such as https://orders.example.com" }}
{{- end }}
{{- if and (not .Values.secrets.existingSecret) (not .Values.secrets.create) }}
{{- $missing = append $missing "secrets.existingSecret: the Secret with the database URL, the link key and the keys of personal data (or secrets.create, for a trial)" }}
{{- end }}
{{- range $needed := list "database.url" "links.key" "personal_data.keys" }}
{{- if not (hasKey $.Values.secrets.keys $needed) }}
{{- $missing = append $missing (printf "secrets.keys: which key of the Secret holds %s" $needed) }}
{{- end }}
{{- end }}
{{- if and .Values.secrets.create (not .Values.secrets.existingSecret) }}
{{- range $key, $file := .Values.secrets.keys }}
{{- if not (hasKey $.Values.secrets.create $file) }}
{{- $missing = append $missing (printf "secrets.create: a value for %s, which is %s" $file $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- $asked := or .Values.config.callers.allow_unauthenticated (and .Values.callers.tlsSecret .Values.callers.clientCaKey) (dig "jwt" "issuer" "" .Values.config.callers) }}
{{- if not $asked }}
{{- $missing = append $missing "callers.tlsSecret or config.callers.jwt: how callers prove who they are (or config.callers.allow_unauthenticated, for a trial)" }}
{{- end }}
{{- if $missing }}
{{- fail (printf "\n\nThese values are missing:\n  - %s\n\nOPERATING.md leads through them.\n" (join "\n  - " $missing)) }}
{{- end }}
{{- end }}

{{/* A table as TOML. Scalars and lists as JSON, which TOML reads; toToml would write 32 as 32.0. Takes path and table. */}}
{{- define "countersign.toml" -}}
{{- $path := .path }}
{{- $plain := dict }}
{{- $tables := dict }}
{{- $rows := dict }}
{{- range $key, $value := .table }}
{{- if and (kindIs "slice" $value) $value (kindIs "map" (first $value)) }}
{{- $_ := set $rows $key $value }}
{{- else if kindIs "map" $value }}
{{- $_ := set $tables $key $value }}
{{- else if not (kindIs "invalid" $value) }}
{{- $_ := set $plain $key $value }}
{{- end }}
{{- end }}
{{- if and $path $plain }}
[{{ $path }}]
{{- end }}
{{- range $key, $value := $plain }}
{{ if regexMatch "^[A-Za-z0-9_-]+$" $key }}{{ $key }}{{ else }}{{ toJson $key }}{{ end }} = {{ toJson $value }}
{{- end }}
{{- range $key, $value := $tables }}
{{- $name := ternary $key (toJson $key) (regexMatch "^[A-Za-z0-9_-]+$" $key) }}
{{- include "countersign.toml" (dict "path" (ternary (printf "%s.%s" $path $name) $name (ne $path "")) "table" $value) }}
{{- end }}
{{- range $key, $values := $rows }}
{{- range $row := $values }}
[[{{ ternary (printf "%s.%s" $path $key) $key (ne $path "") }}]]
{{- range $name, $value := $row }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The keys of secrets that a service may see. Takes root and role. */}}
{{- define "countersign.secretKeys" -}}
{{- $keys := dict }}
{{- range $key, $file := .root.Values.secrets.keys }}
{{- if or (eq $.role "notification-worker") (not (has (first (splitList "." $key)) (list "email" "sms" "phone"))) }}
{{- $_ := set $keys $key $file }}
{{- end }}
{{- end }}
{{- toJson $keys }}
{{- end }}

{{/* The configuration of a service. The order service has no carriers, so it gets none of their sections but the one key that both read. */}}
{{- define "countersign.config" -}}
{{- $config := omit (deepCopy .root.Values.config) "extra" }}
{{- if eq .role "order-service" }}
{{- $config = omit $config "notification" "email" "sms" "phone" "webhooks" "audit" "templates" }}
{{- /* It waits for a worker by the workers' own limit. */}}
{{- with pick .root.Values.config.notification "silence_minutes_max" }}
{{- $config = mergeOverwrite $config (dict "notification" .) }}
{{- end }}
{{- else }}
{{- $worker := .root.Values.notificationWorker }}
{{- $config = mergeOverwrite $config (dict "notification" (dict
      "listen" (printf "%s:%d" .root.Values.listenAddress (int $worker.httpPort))
      "grpc_listen" (printf "%s:%d" .root.Values.listenAddress (int $worker.grpcPort))
      "order_service_url" (printf "%s://%s-order-service:%d" (ternary "https" "http" (ne .root.Values.callers.tlsSecret "")) (include "countersign.fullname" .root) (int .root.Values.orderService.port)))) }}
{{- end }}
{{- $callers := .root.Values.callers }}
{{- if $callers.tlsSecret }}
{{- $tls := dict "certificate_file" "/run/secrets/callers/tls.crt" "key_file" "/run/secrets/callers/tls.key" }}
{{- with $callers.clientCaKey }}
{{- $_ := set $tls "client_ca_file" (printf "/run/secrets/callers/%s" .) }}
{{- end }}
{{- with $callers.clientCrlKey }}
{{- $_ := set $tls "client_crl_file" (printf "/run/secrets/callers/%s" .) }}
{{- end }}
{{- $config = mergeOverwrite $config (dict "callers" (dict "tls" $tls)) }}
{{- end }}
{{- if and (eq .role "notification-worker") $callers.workerSecret }}
{{- $config = mergeOverwrite $config (dict "client" (dict
      "ca_file" "/run/secrets/client/ca.crt"
      "certificate_file" "/run/secrets/client/tls.crt"
      "key_file" "/run/secrets/client/tls.key")) }}
{{- end }}
{{- if and (eq .role "notification-worker") .root.Values.ingress.enabled .root.Values.ingress.clientIpHeader (not .root.Values.config.notification.client_ip_header) }}
{{- $config = mergeOverwrite $config (dict "notification" (dict "client_ip_header" .root.Values.ingress.clientIpHeader)) }}
{{- end }}
{{- $config = mergeOverwrite $config (dict "order" (dict "listen" (printf "%s:%d" .root.Values.listenAddress (int .root.Values.orderService.port)))) }}
{{- range $key, $file := include "countersign.secretKeys" . | fromJson }}
{{- $parts := splitList "." $key }}
{{- $nested := dict (printf "%s_file" (last $parts)) (printf "/run/secrets/countersign/%s" $file) }}
{{- range $section := reverse (initial $parts) }}
{{- $nested = dict $section $nested }}
{{- end }}
{{- $config = mergeOverwrite $config $nested }}
{{- end }}
{{- include "countersign.toml" (dict "path" "" "table" $config) }}
{{- with .root.Values.config.extra }}
{{ . }}
{{- end }}
{{- end }}

{{/* Both configurations, as the data of a ConfigMap. */}}
{{- define "countersign.configData" -}}
{{- range $role := list "order-service" "notification-worker" }}
{{ $role }}.toml: |
  {{- include "countersign.config" (dict "root" $ "role" $role) | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every pod has in common. */}}
{{- define "countersign.podSecurity" -}}
serviceAccountName: {{ include "countersign.serviceAccountName" . }}
{{- include "countersign.podSecurityWithoutAccount" . }}
{{- end }}

{{- define "countersign.podSecurityWithoutAccount" }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "countersign.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Tells replicas apart in the collector: without service.instance.id their figures would be one series. */}}
{{- define "countersign.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: OTEL_RESOURCE_ATTRIBUTES
  value: service.instance.id=$(POD_NAME),k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE)
{{- end }}

{{/* Room for the notice, the grace, 2 s in which cut tasks unwind, three last exports of 3 s each, and 4 s to spare. */}}
{{- define "countersign.terminationGracePeriodSeconds" -}}
{{ add (.Values.config.shutdown.notice_seconds | int) (.Values.config.shutdown.grace_seconds | int) 15 }}
{{- end }}

{{/* The volume of secrets, with the given keys only. Takes root and keys (of the configuration to keys of the Secret). */}}
{{- define "countersign.secretVolume" -}}
- name: secrets
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      {{- range .files | uniq | sortAlpha }}
      - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
{{- end }}
