// SPDX-License-Identifier: Apache-2.0

// A workload that speaks SPIFFE through go-spiffe: everything it gets, checked by that library, and at last "ok".
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx)
	check(err)
	defer source.Close()
	svid, err := source.GetX509SVID()
	check(err)
	_, _, err = x509svid.Verify(svid.Certificates, source)
	check(err)
	client, err := workloadapi.New(ctx)
	check(err)
	defer client.Close()
	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "bank", ExtraAudiences: []string{"shop"}})
	check(err)
	set, err := client.FetchJWTBundles(ctx)
	check(err)
	_, err = jwtsvid.ParseAndValidate(token.Marshal(), set, []string{"bank"})
	check(err)
	if _, err = jwtsvid.ParseAndValidate(token.Marshal(), set, []string{"other"}); err == nil {
		fmt.Println("taken for another audience")
		os.Exit(1)
	}
	valid, err := client.ValidateJWTSVID(ctx, token.Marshal(), "shop")
	check(err)
	// The source follows the stream: another certificate without being asked.
	first := svid.Certificates[0].SerialNumber
	for svid.Certificates[0].SerialNumber.Cmp(first) == 0 {
		check(source.WaitUntilUpdated(ctx))
		svid, err = source.GetX509SVID()
		check(err)
	}
	fmt.Println("ok", svid.ID, token.ID, valid.ID)
}
