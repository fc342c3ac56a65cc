module overspill.dev/tests/cluster/node

go 1.24.0
