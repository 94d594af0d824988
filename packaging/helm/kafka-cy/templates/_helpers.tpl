{{- /* The name of all objects: the release, with "-kafka-cy" unless it is part of it. Kubernetes adds a hash to a StatefulSet's. */ -}}
{{- define "kafka-cy.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 43 | trimSuffix "-" -}}
{{- end -}}

{{- define "kafka-cy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "kafka-cy.labels" -}}
{{ include "kafka-cy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Where clients outside of the cluster connect. */ -}}
{{- define "kafka-cy.externalAddress" -}}
{{- with .Values.listeners.external -}}
{{- $port := ternary .service.nodePort .port (eq .service.type "NodePort") -}}
{{- .advertisedHost }}:{{ .advertisedPort | default $port | required "listeners.external: a NodePort needs service.nodePort or advertisedPort" -}}
{{- end -}}
{{- end -}}

{{- /* Helm reads a number of a file as a float64, which it would print as 1.073741824e+09. */ -}}
{{- define "kafka-cy.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}
