"""Recipes: conversion between TOML files and the objects of a run."""
