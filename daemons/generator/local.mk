# SPDX-License-Identifier: Apache-2.0
systemdsystemgenerator_PROGRAMS = kvmesh-generator
kvmesh_generator_SOURCES = %D%/main.c
kvmesh_generator_LDADD = $(KV_CONFIG_LDADD)
