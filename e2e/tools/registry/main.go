// Command registry serves container images to the nodes of a rig, and puts images into such a registry.
//
//	registry serve --address HOST:PORT --cert FILE --key FILE
//	registry push --ca FILE ARCHIVE NAME:TAG
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("say `serve` or `push`")
	}
	switch args[0] {
	case "serve":
		return serve(args[1:])
	case "push":
		return push(args[1:])
	default:
		return fmt.Errorf("there is no command %q", args[0])
	}
}

// serve keeps its images in memory: a rig's registry ends with the rig.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:5000", "address to listen on")
	cert := flags.String("cert", "", "certificate to serve")
	key := flags.String("key", "", "its private key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	// Who started it may push from this line on.
	fmt.Println("listening on", *address)
	server := &http.Server{Handler: registry.New(), ReadHeaderTimeout: 10 * time.Second}
	return server.ServeTLS(listener, *cert, *key)
}

func push(args []string) error {
	flags := flag.NewFlagSet("push", flag.ExitOnError)
	ca := flags.String("ca", "", "certificate authority of the registry")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("push takes an archive and a name")
	}
	archive, name := flags.Arg(0), flags.Arg(1)
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", *ca)
	}
	image, err := crane.Load(archive)
	if err != nil {
		return fmt.Errorf("read %s: %w", archive, err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return crane.Push(image, name, crane.WithTransport(transport))
}
