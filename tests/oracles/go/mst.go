package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/bluesky-social/indigo/atproto/repo/mst"
	"github.com/ipfs/go-cid"
)

func printRoot(entries map[string]cid.Cid) error {
	tree, err := mst.LoadTreeFromMap(entries)
	if err != nil {
		return err
	}
	root, err := tree.RootCID()
	if err != nil {
		return err
	}
	fmt.Println(root)
	return nil
}

func rootsOf(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	entries := map[string]cid.Cid{}
	for lines.Scan() {
		if lines.Text() == "" {
			if err := printRoot(entries); err != nil {
				return err
			}
			entries = map[string]cid.Cid{}
			continue
		}
		hexKey, text, found := strings.Cut(lines.Text(), "\t")
		if !found {
			return errors.New(path + ": a line without a tab")
		}
		key, err := hex.DecodeString(hexKey)
		if err != nil {
			return err
		}
		value, err := cid.Decode(text)
		if err != nil {
			return err
		}
		entries[string(key)] = value
	}
	if len(entries) > 0 {
		return errors.New(path + ": the last map does not end with an empty line")
	}
	return lines.Err()
}

// The roots that indigo gives to maps: a line is "HEXKEY TAB CID", an empty line ends a map.
func mstRoots(paths []string) error {
	for _, path := range paths {
		if err := rootsOf(path); err != nil {
			return err
		}
	}
	return nil
}
