module flotilla.dev/manager/charts/fetcher

go 1.26.0

tool google.golang.org/protobuf/cmd/protoc-gen-go

require (
	github.com/Masterminds/semver/v3 v3.5.0
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/net v0.60.0
	google.golang.org/protobuf v1.36.12
)
