module overspill.dev/bench/load

go 1.22
