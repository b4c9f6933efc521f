/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ejection: what an exchange tells core/outlier and core/ewma about the endpoint that it was with.
 * Nothing happens where the cluster has no outlierDetection, or does not choose by latency. Layer
 * proxy.
 */
#pragma once

#include "core/outlier.h"
#include "proxy/attach.h"

struct stream;

/* The endpoints of one cluster as core/outlier sees them; c must outlive the set. */
struct outlier_set ejection_set(struct attached_cluster *c);

void ejection_answered(struct stream *s);       /* the head of an answer is there */
void ejection_grpc_ended(struct stream *s);     /* its status came in trailers */
void ejection_broke(struct stream *s);          /* s->fail ended the try */
void ejection_connected(struct stream *s);      /* opaque bytes can flow */
