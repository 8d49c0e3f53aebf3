module flotilla.example/e2e/cluster/faultproxy

go 1.26.0
