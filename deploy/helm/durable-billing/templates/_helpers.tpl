{{/* What every object says of itself. Call with (dict "root" $ "component" "api"). */}}
{{- define "billing.labels" -}}
{{ include "billing.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: durable-billing
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "billing.selector" -}}
app.kubernetes.io/name: durable-billing
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "billing.name" -}}
{{ printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "billing.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* A worker that is told to stop waits for its gateways: the read time-out and 10 s. It has 15 s
     more, so that nobody ends it in between. */}}
{{- define "billing.grace" -}}
{{- $read := get .settings "GATEWAY_READ_TIMEOUT_SECONDS" | default "5" -}}
{{ add (int (ceil (float64 $read))) 25 }}
{{- end }}

{{- define "billing.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "billing.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities: {drop: [ALL]}
{{- end }}

{{/* Settings by name, in its order: those of every process, its own, those of the chart, and where its
     secrets stand. (dict "own" … "chart" … "secrets" … "without" (list …)) */}}
{{- define "billing.environment" -}}
{{- $all := merge (dict) .chart .own (omit .root.Values.settings "") -}}
{{- range .secrets }}
{{- $_ := set $all (printf "%s_FILE" .) (printf "/run/secrets/billing/%s" .) }}
{{- end }}
{{- range .without }}
{{- $_ := unset $all . }}
{{- end }}
{{- range $name := keys $all | sortAlpha }}
- name: {{ $name }}
  value: {{ get $all $name | quote }}
{{- end }}
{{- end }}

{{- define "billing.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /run/secrets/billing, readOnly: true}
{{- if .Values.certificates }}
- {name: certificates, mountPath: /etc/billing/tls, readOnly: true}
{{- end }}
{{- end }}

{{/* (dict "root" $ "secret" NAME "keys" (list …)) */}}
{{- define "billing.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: secrets
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
    {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- if .root.Values.certificates }}
- name: certificates
  secret:
    secretName: {{ .root.Values.certificates }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* Zones first, then nodes; each rollout counts its own pods. */}}
{{- define "billing.spread" -}}
{{- $selector := include "billing.selector" . }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- $selector | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* Of the event loop alone: a server that is away must not have pods killed. A process lives before
     it is ready, which is when Temporal has been reached. */}}
{{- define "billing.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* One process as a pod. (dict "root" $ "component" … "process" (the block of values) "args" (list …)
     "chart" (settings that the chart itself says) "without" (list …) "lag" (whether requests still
     come for a moment)) */}}
{{- define "billing.pod" -}}
{{- $root := .root -}}
{{- $settings := merge (dict) .process.settings $root.Values.settings -}}
metadata:
  labels:
    {{- include "billing.labels" . | nindent 4 }}
spec:
  serviceAccountName: {{ $root.Release.Name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "billing.grace" (dict "settings" $settings) }}
  securityContext:
    {{- include "billing.podSecurity" . | nindent 4 }}
  topologySpreadConstraints:
    {{- include "billing.spread" . | nindent 4 }}
  containers:
    - name: {{ .component }}
      image: {{ include "billing.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "billing.environment" (dict "root" $root "own" .process.settings "chart" .chart "secrets" .process.secrets "without" .without) | nindent 8 }}
      ports:
        - {name: http, containerPort: 8080}
        - {name: sdk, containerPort: 8083}
      {{- include "billing.probes" . | nindent 6 }}
      {{- if .lag }}
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      {{- end }}
      resources:
        {{- toYaml .process.resources | nindent 8 }}
      securityContext:
        {{- include "billing.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "billing.mounts" $root | nindent 8 }}
  volumes:
    {{- include "billing.volumes" (dict "root" $root "secret" $root.Values.secrets.name "keys" .process.secrets) | nindent 4 }}
{{- end }}

{{/* A Deployment around such a pod. */}}
{{- define "billing.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "billing.name" . }}
  labels:
    {{- include "billing.labels" . | nindent 4 }}
spec:
  {{- if not .process.autoscaling.enabled }}
  replicas: {{ .process.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  # None less than before while code is replaced.
  strategy:
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- include "billing.selector" . | nindent 6 }}
  template:
    {{- include "billing.pod" . | nindent 4 }}
{{- end }}
