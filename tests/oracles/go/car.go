package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
)

// cars prints "ok FILE blocks=N bytes=N root=CID" or "refused FILE: why" for each file.
func cars(files []string) error {
	for _, name := range files {
		blocks, bytes, root, err := readCar(name)
		if err != nil {
			fmt.Printf("refused %s: %v\n", name, err)
			continue
		}
		fmt.Printf("ok %s blocks=%d bytes=%d root=%s\n", name, blocks, bytes, root)
	}
	return nil
}

func readCar(name string) (blocks, bytes int, root string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return
	}
	defer file.Close()
	reader, err := car.NewBlockReader(file, car.WithTrustedCAR(false), car.ZeroLengthSectionAsEOF(false))
	if err != nil {
		return
	}
	if len(reader.Roots) != 1 {
		return 0, 0, "", fmt.Errorf("%d roots", len(reader.Roots))
	}
	seen := cid.NewSet()
	for {
		block, next := reader.Next()
		if errors.Is(next, io.EOF) {
			break
		}
		if next != nil {
			return 0, 0, "", next
		}
		blocks++
		bytes += len(block.RawData())
		seen.Add(block.Cid())
	}
	if !seen.Has(reader.Roots[0]) {
		return 0, 0, "", errors.New("the root is not in the file")
	}
	return blocks, bytes, reader.Roots[0].String(), nil
}
