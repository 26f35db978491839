// Command probe serves a text over HTTP, or asks for one, from inside a pod.
//
// Debian's static busybox resolves names with parts of glibc that an image without glibc does not have.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// A service's name and its rules are there a moment after the service.
const patience = 20 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 3 && arguments[0] == "serve":
		return serve(arguments[1], arguments[2])
	case len(arguments) == 2 && arguments[0] == "get":
		return get(arguments[1])
	}
	return fmt.Errorf("usage: probe serve ADDRESS TEXT | probe get URL")
}

func serve(address, text string) error {
	return http.ListenAndServe(address, http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, text)
	}))
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	deadline := time.Now().Add(patience)
	for {
		answer, err := client.Get(url)
		if err == nil {
			defer answer.Body.Close()
			_, err = io.Copy(os.Stdout, answer.Body)
			return err
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
}
