{{/* A service's Deployment. Takes root, role, values (its section), ports (name to number) and health (name to gRPC service). */}}
{{- define "countersign.deployment" -}}
{{- $root := .root }}
{{- $labels := dict "root" $root "component" .role }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "countersign.fullname" $root }}-{{ .role }}
  labels: {{- include "countersign.labels" $labels | nindent 4 }}
spec:
  {{- if not .values.autoscaling.enabled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "countersign.selector" $labels | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        {{- include "countersign.labels" $labels | nindent 8 }}
        {{- with $root.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        {{- if not $root.Values.reloadConfig }}
        # Not every key takes effect in a running pod, so another configuration means other pods.
        checksum/config: {{ include "countersign.config" (dict "root" $root "role" .role) | sha256sum }}
        {{- end }}
        {{- if not $root.Values.secrets.existingSecret }}
        checksum/secrets: {{ toJson $root.Values.secrets.create | sha256sum }}
        {{- end }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "countersign.podSecurity" $root | nindent 6 }}
      terminationGracePeriodSeconds: {{ include "countersign.terminationGracePeriodSeconds" $root }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "countersign.selector" $labels | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      containers:
        - name: {{ .role }}
          image: {{ include "countersign.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: ["--config", "/etc/countersign/config/{{ .role }}.toml", {{ .role | quote }}]
          env:
            {{- include "countersign.env" $root | nindent 12 }}
            {{- with .values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- range .ports }}
            - {name: {{ .name }}, containerPort: {{ .port }}, protocol: TCP}
            {{- end }}
          # "liveness" tells of the process alone: a pod whose database is away is not helped by a restart. Readiness goes
          # with the database, and at SIGTERM.
          startupProbe:
            {{- if $root.Values.callers.tlsSecret }}
            # The kubelet cannot ask over TLS whether gRPC is well; that somebody listens has to do.
            tcpSocket: {port: {{ .healthPort }}}
            {{- else }}
            grpc: {port: {{ .healthPort }}, service: liveness}
            {{- end }}
            periodSeconds: 2
            failureThreshold: 60
          # Patient: under overload the probe waits in the same queue as the calls.
          livenessProbe:
            {{- if $root.Values.callers.tlsSecret }}
            tcpSocket: {port: {{ .healthPort }}}
            {{- else }}
            grpc: {port: {{ .healthPort }}, service: liveness}
            {{- end }}
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          readinessProbe:
            {{- if $root.Values.callers.tlsSecret }}
            tcpSocket: {port: {{ .healthPort }}}
            {{- else }}
            grpc: {port: {{ .healthPort }}, service: {{ .healthService }}}
            {{- end }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          resources: {{- toYaml .values.resources | nindent 12 }}
          securityContext: {{- include "countersign.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            # The folder and not the file: Kubernetes brings changes only into a mounted folder.
            - {name: config, mountPath: /etc/countersign/config, readOnly: true}
            - {name: secrets, mountPath: /run/secrets/countersign, readOnly: true}
            {{- if $root.Values.callers.tlsSecret }}
            - {name: callers, mountPath: /run/secrets/callers, readOnly: true}
            {{- end }}
            {{- if and $root.Values.callers.workerSecret (eq .role "notification-worker") }}
            - {name: client, mountPath: /run/secrets/client, readOnly: true}
            {{- end }}
            {{- with .values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "countersign.fullname" $root }}
        {{- $keys := include "countersign.secretKeys" (dict "root" $root "role" .role) | fromJson }}
        {{- include "countersign.secretVolume" (dict "secretName" (include "countersign.secretName" $root) "files" (values $keys)) | nindent 8 }}
        {{- with $root.Values.callers.tlsSecret }}
        # Read anew when it changes: a certificate is replaced without a restart.
        - name: callers
          secret: {secretName: {{ . }}, defaultMode: 0440}
        {{- end }}
        {{- if and $root.Values.callers.workerSecret (eq .role "notification-worker") }}
        - name: client
          secret: {secretName: {{ $root.Values.callers.workerSecret }}, defaultMode: 0440}
        {{- end }}
        {{- with .values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{/* What scales a service and keeps it up while nodes are emptied. */}}
{{- define "countersign.scaling" -}}
{{- $labels := dict "root" .root "component" .role }}
{{- $name := printf "%s-%s" (include "countersign.fullname" .root) .role }}
{{- if .values.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  labels: {{- include "countersign.labels" $labels | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ .values.autoscaling.minReplicas }}
  maxReplicas: {{ .values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .values.autoscaling.targetCPUUtilizationPercentage }}
{{- end }}
{{- if .values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "countersign.labels" $labels | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that does not come up must not keep a node from being emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "countersign.selector" $labels | nindent 6 }}
{{- end }}
{{- end }}
