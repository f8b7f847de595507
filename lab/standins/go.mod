module nexus-media/lab/standins

go 1.26
